"""What of a math agent's drawings and text may leave, for the processes that serve math.

It is handed to a gateway made: what it loads is not for processes that only chat.
"""

import functools

from phigate.core.clean_answer import clean_answer, clean_members, refuse_drawing
from phigate.gateway import Drawings
from phigate.wire.svg import sanitise

DRAWINGS = Drawings(
    clean=sanitise,
    clean_answer=functools.partial(clean_answer, sanitise=sanitise),
    # An error draws nothing.
    clean_error=functools.partial(clean_members, sanitise=refuse_drawing),
)
