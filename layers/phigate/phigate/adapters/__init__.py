"""The dialects, by the name that a catalog row gives in `dialect`."""

from collections.abc import Mapping

from phigate.adapters import anthropic, openai
from phigate.adapters.adapter import Adapter

ADAPTERS: Mapping[str, Adapter] = {
    "openai": openai.ADAPTER,
    "anthropic": anthropic.ADAPTER,
}
