"""Decides what a simulated provider answers: text that says it is simulated, tool calls, JSON.

Law 1: the same request gives the same answer.
Law 2: tokens are bytes / 4 rounded up, 85 an image; output never exceeds the asked maximum.
"""

import json
import re
from itertools import pairwise

from local.simulated import programs
from local.simulated.schema_example import WORD, example
from local.simulated.shapes import Answer, Ask, Call, Draft, Image, Json, Tool, Usage

BYTES_PER_TOKEN = 4
TOKENS_PER_IMAGE = 85
WORDS_QUOTED = 8
WORDS_PER_PIECE = 3
NAME_WORD_CHARS = 6
CALL_PIECE_CHARS = 12  # of a tool call's arguments in one chunk
TIMEZONE = re.compile(r"\b[A-Z][A-Za-z]+(?:/[A-Z][A-Za-z_]+){1,2}\b")


def tokens(text: str) -> int:
    """The simulated provider's count."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


def draft(ask: Ask, provider: str) -> Draft:
    """What to answer, before limits. Raises NoExample for a schema that cannot be met."""
    wanted = _calls(ask)
    if wanted:
        calls = (
            Call(f"call_sim{ask.messages:04d}{i:02d}", name, arguments)
            for i, (name, arguments) in enumerate(wanted)
        )
        return Draft("", tuple(calls))
    return Draft(WRITERS[ask.format](ask, provider), is_prose=ask.format == "text")


def limited(draft: Draft, ask: Ask) -> Answer:
    """The draft cut at the first stop sequence and at the greatest number of tokens."""
    text = draft.text
    ends = [at for sequence in ask.stop if sequence and (at := text.find(sequence)) >= 0]
    text = text[: min(ends, default=len(text))]
    finish = "tool_calls" if draft.calls else "stop"
    left = ask.tokens_out_max
    if left is not None and tokens(text) > left:
        text, finish = _cut(text, left), "length"
    calls, calls_tokens, calls_fit = _limited_calls(draft.calls, left)
    if not calls_fit:
        finish = "length"
    usage = Usage(ask.prompt_tokens, (tokens(text) + calls_tokens) * ask.choices)
    return Answer(_pieces(text, draft.chunks), calls, finish, usage)


def stretched(text: str, chunks: int) -> str:
    """The text with filler behind it until it has a word for every chunk."""
    missing = chunks - len(text.split(" "))
    return text + "".join(f" simulated-{i}" for i in range(missing))


def fragments(arguments: str) -> list[str]:
    """A tool call's arguments as they are streamed."""
    return [arguments[i : i + CALL_PIECE_CHARS] for i in range(0, len(arguments), CALL_PIECE_CHARS)]


def _is_meant(name: str, text: str) -> bool:
    """The text holds the function's name, or a long word of it (`datetime` of `get_datetime`)."""
    words = [word for word in re.split(r"[_.-]", name.lower()) if len(word) >= NAME_WORD_CHARS]
    return name in text or any(word in text.lower() for word in words)


def _calls(ask: Ask) -> list[tuple[str, str]]:
    """The tools to call, with their arguments. A math agent writes its programs one a turn."""
    if programs.is_offered(ask):
        left = programs.programs(ask.last_user_text)[len(ask.tool_results) :][:1]
        if left or not ask.forced:
            return [(program.language, json.dumps({"code": program.code})) for program in left]
    return [(tool.name, _arguments(tool, ask)) for tool in _called(ask)]


def _called(ask: Ask) -> tuple[Tool, ...]:
    named = [tool for tool in ask.offered if _is_meant(tool.name, ask.last_user_text)]
    if ask.forced:
        wanted = [tool for tool in ask.forced if tool in named] or list(ask.forced[:1])
    elif ask.tool_results:
        wanted = []
    elif "use the tool" in ask.last_user_text.lower():
        wanted = named or list(ask.offered[:1])
    else:
        wanted = named
    return tuple(wanted if ask.parallel_calls else wanted[:1])


def _arguments(tool: Tool, ask: Ask) -> str:
    value = example(tool.schema)
    if isinstance(value, dict) and value.get("timezone") == WORD:
        _name_timezone(value, tool, ask)
    return json.dumps(value, ensure_ascii=False)


def _name_timezone(value: Json, tool: Tool, ask: Ask) -> None:
    """A word that is no time zone would show nothing but an error: one of the text's, or none."""
    named = TIMEZONE.search(ask.last_user_text)
    if named is not None:
        value["timezone"] = named[0]
    elif "timezone" not in tool.schema.get("required", ()) and "properties" in tool.schema:
        del value["timezone"]


def _text(ask: Ask, provider: str) -> str:
    sentences = [
        f"[simulated {provider}] No model ran: this answer comes from the local stack.",
        f"The request has {_count(ask.messages, 'message')} for {ask.model}.",
    ]
    sentences += [
        f"Image {i} is {_described(image)}." for i, image in enumerate(ask.images, start=1)
    ]
    if programs.is_offered(ask) and programs.programs(ask.last_user_text):
        sentences.append(programs.concluded(ask.last_user_text, ask.tool_results))
    elif ask.tool_results:
        lengths = ", ".join(_count(len(result), "character") for result in ask.tool_results)
        sentences.append(f"The tool answered with {lengths}.")
        words = ask.tool_results[-1].split()
        sentences.append(f'The last result begins: "{" ".join(words[:WORDS_QUOTED])}".')
    sentences.append(_quoted(ask.last_user_text))
    return " ".join(sentences)


def _described(image: Image | None) -> str:
    if image is None:
        return "not at hand: links are not followed, and an example cut short has no bytes"
    return f"a {image.format} of {image.width} x {image.height} pixels"


def _quoted(text: str) -> str:
    words = text.split()
    if not words:
        return "There is no user text."
    length = _count(len(text), "character")
    return f'The last user text has {length} and begins: "{" ".join(words[:WORDS_QUOTED])}".'


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _object(ask: Ask, provider: str) -> str:
    value = {"simulated": True, "provider": provider, "text": _text(ask, provider)}
    return json.dumps(value, ensure_ascii=False)


def _schema_object(ask: Ask, _: str) -> str:
    return json.dumps(example(ask.schema), ensure_ascii=False)


def _cut(text: str, tokens_max: int) -> str:
    data = text.encode("utf-8", "surrogatepass")[: tokens_max * BYTES_PER_TOKEN]
    return data.decode("utf-8", "ignore")


def _limited_calls(calls: tuple[Call, ...], left: int | None) -> tuple[tuple[Call, ...], int, bool]:
    """The calls that fit, their tokens, and whether all fit; the last one's arguments are cut."""
    kept: list[Call] = []
    used = 0
    for call in calls:
        name, arguments = tokens(call.name), tokens(call.arguments)
        if left is not None and used + name + arguments > left:
            room = left - used - name
            if room > 0:
                cut = _cut(call.arguments, room)
                kept.append(Call(call.id, call.name, cut))
                used += name + tokens(cut)
            return tuple(kept), used, False
        kept.append(call)
        used += name + arguments
    return tuple(kept), used, True


def _pieces(text: str, chunks: int | None) -> tuple[str, ...]:
    """The text in pieces that end before a space: so many, or one for every few words."""
    words = text.split(" ")
    spaced = [words[0], *(" " + word for word in words[1:])]
    count = min(chunks or -(-len(spaced) // WORDS_PER_PIECE), len(spaced))
    edges = [i * len(spaced) // count for i in range(count + 1)]
    pieces = ("".join(spaced[a:b]) for a, b in pairwise(edges))
    return tuple(piece for piece in pieces if piece)


WRITERS = {"text": _text, "json_object": _object, "json_schema": _schema_object}
