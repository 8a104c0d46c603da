"""The shapes of the effects that the pipeline calls. Their implementations live in `effects/`.

An expected failure is a result (`HoldRefused`, `None`); `Overloaded` means that the store could
not be reached within its bounds; `UpstreamFailed` ends one attempt.
"""

from typing import Literal

# Why a call was not counted: the key is off, or over its rate.
CountRefusal = Literal["key", "rate"]
