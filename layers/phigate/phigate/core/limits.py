"""Every bound of the gateway, each with the reason for its size."""

# The request. A Lambda event holds at most 6 MB and escapes the body; 5,000,000 bytes leave room.
BODY_BYTES_MAX = 5_000_000
MESSAGES_MAX = 2_000  # longer than any context that the catalog's rows can read
PARTS_MAX = 500  # content parts over all messages
IMAGES_MAX = 20  # the smallest image limit among the providers we carry is higher
TOOLS_MAX = 128  # OpenAI's own limit
SCHEMA_BYTES_MAX = 64 * 1024  # one tool's or response format's JSON schema
JSON_DEPTH_MAX = 64  # deeper nesting has no use in a chat request and costs recursion upstream
# Members of objects and items of arrays, empty ones too, in a whole body: 2,000 messages with 500
# parts and 128 tools whose schemas have 500 each have fewer. To read so many takes some 200 ms of
# CPU; 5 MB of `[]` would take seconds.
JSON_MEMBERS_MAX = 100_000
# Backslashes of a body: the parser takes 20 ns for each, without a pause. 5 MB of text outside
# ASCII, all of it escaped, have 830,000.
ESCAPES_MAX = 1_000_000
# Members of one object. JSON schemas may list more properties; nothing else of a request has a use
# for so many, and each unknown one is held against every table and row.
OBJECT_MEMBERS_MAX = 1_000
MEMBER_NAME_BYTES_MAX = 256  # a member's name; the longest of any provider has some 30
# Tool calls, and what clients send back with an answer's messages, over all messages: a call is
# answered by a message of its own.
TOOL_CALLS_MAX = 2_000
PATH_CHARS_MAX = 200  # of a path that names a member to the caller: its names are the caller's
# Separators and backslashes of a body, those in strings too, up to which it is read on the event
# loop: so many take some 5 ms. What has more is read beside it, in turns of 5 ms.
LIGHT_BODY_MARKS_MAX = 4_000
HEADER_BYTES_MAX = 8 * 1024  # all request headers together; API Gateway stops at 10,240
HEAD_TIMEOUT_S = 10.0  # from the first byte of a request to the end of its headers: 8 KB
BODY_TIMEOUT_S = 60.0  # from there to the body's last byte: 5 MB at 0.7 Mbit/s
# What is still on its way when its request was answered without it is read and thrown away for so
# long: a connection that is closed at once may lose the answer.
BODY_LEFT_TIMEOUT_S = 5.0
KEY_BYTES_MAX = 128  # a key is 58 characters; anything longer is not one
STOP_MAX = 16  # the most that a provider of the catalog takes
PREFERENCES_MAX = 64  # names in one list of `provider`; the catalog has fewer rows
NAME_BYTES_MAX = 256  # a model name, a row id, a user name, the id of a tool call
INTEGER_DIGITS_MAX = 20  # one more than a 64-bit integer has; Python would parse millions

# The upstream.
CONNECT_TIMEOUT_S = 3.0  # TCP and TLS to a healthy provider take under 0.5 s
FIRST_BYTE_TIMEOUT_S = 120.0  # a long prompt on a busy open-weight row may queue for a minute
JSON_TIMEOUT_S = 280.0  # API Gateway ends a connection after five minutes without bytes
IDLE_TIMEOUT_S = 60.0  # between two pieces of a stream
STREAM_TIMEOUT_S = 840.0  # Lambda ends at 900 s; a minute is left for receipt and settle
UPSTREAM_BODY_BYTES_MAX = 32 * 1024 * 1024  # a stream: 20,000 tokens with 20 alternatives each
EVENT_BYTES_MAX = 1024 * 1024  # one SSE event
# An answer in one piece: JSON_TOKENS_MAX tokens of TOKEN_BYTES_MAX and what stands round them. What
# is longer, or has log probabilities, comes as a stream.
ANSWER_BYTES_MAX = 1024 * 1024 + 64 * 1024
# Objects and arrays, and commas, of one answer or event: 1 MB of `[]` takes 80 ms to read, of names
# 50. Log probabilities of 700 KB have fewer of both; nothing else that a model writes comes near.
ANSWER_CONTAINERS_MAX = 64_000
ANSWER_COMMAS_MAX = 100_000
# What an assembled answer is put together of besides text: choices, calls and their members, items,
# unknown members. 1,400 calls, which are written out in 10 ms.
ANSWER_PARTS_MAX = 10_000
INPUT_DEPTH_MAX = 240  # of a call's input, which goes on as text; the writer takes 254 levels
ERROR_BYTES_MAX = 64 * 1024  # of an error's body: its words; some providers echo the request behind
# A JSON call that may write more goes upstream as a stream, so that what was written is seen.
JSON_TOKENS_MAX = 8_192
# The loop's turn: what is fed, hashed or written at once before others have theirs. A stream's
# least event has 23 bytes and costs up to 18 us, so this is 38 ms of the worst stream; an answer of
# 200 chunks that comes at once has 45 KB, and each part is a write of its own.
PIECE_BYTES_MAX = 48 * 1024
WRITE_BYTES_MAX = 1024 * 1024
DRAIN_TIMEOUT_S = 30.0  # after a hang-up we wait this long for the usage chunk
WRITE_TIMEOUT_S = 60.0  # a caller who reads nothing for so long has gone
PING_INTERVAL_S = 15.0  # well under the idle limits of proxies (30 s at the API Gateway edge)
ATTEMPTS_MAX = 4
RETRY_PAUSE_S = 0.25  # a list of one row is tried again once, after this pause at most
SOCKET_UNUSED_MAX_S = 20.0  # a POST is not sent on a pooled socket that was idle for longer

# The most that one token, as truthful providers write it, has in bytes: of text (the longest of the
# vocabularies are runs of 128 blanks, or of 64 letters that are escaped), of a stream's chunk round
# it (ids, model, fingerprint, padding), and of one alternative in its log probabilities (its text,
# its bytes as numbers, its names).
TOKEN_BYTES_MAX = 128
CHUNK_BYTES_MAX = 1_024
LOGPROB_BYTES_MAX = 768

# What a row writes in a second where its catalog says nothing: the fastest hosts of open models.
TOKENS_OUT_PER_S_DEFAULT = 200
# Answers nobody saw a byte of that a key may let time out in a day before the operator is told.
UNSEEN_TIMEOUTS_PER_DAY = 5

LAST_TOKENS_MIN = 64  # of an answer for which credit is short; fewer say nothing
TURNS_FOLLOW_MAX = 8  # turns after the first one in a server tool's loop

# The math agent.
MATH_TURNS_MAX = 12  # turns that may call programs; one more is left to answer
MATH_TIMEOUT_S = 240.0  # all turns and programs; the JSON deadline is 280 s
PROGRAM_TIMEOUT_S = 60.0
PROGRAM_OUTPUT_BYTES_MAX = 64 * 1024
PROGRAM_CODE_BYTES_MAX = 256 * 1024  # far more than a model writes in one turn
PROGRAMS_MAX = 32  # a turn may ask for several at once; the receipt names each
FIGURES_MAX = 10  # over all programs of a request
FIGURES_SEEN_MAX = 20  # those that were refused too: cleaning one may take half a second
GONE_LOOK_S = 1.0  # how often a request that waits for a program looks whether its caller is there

# The breaker.
BREAKER_FAILURES = 5
BREAKER_WINDOW_S = 60.0
BREAKER_OPEN_S = 30.0
BREAKER_SKEW_S = 1.0  # clocks of one AWS region differ by milliseconds; a later time is garbled
# Tries to replace the shared count. Where all are lost to others' writes this failure is not
# counted; the next one is.
BREAKER_TRIES_MAX = BREAKER_FAILURES

ADVICE_TIMEOUT_S = 0.2  # what an answer without streaming waits for others to be told

# Catalog and keys.
CATALOG_FRESH_S = 300.0
CATALOG_PHI_AGE_MAX_S = 3_600.0
KEY_CACHE_S = 60.0  # for a call that holds: the hold's own write looks whether the key works
KEY_FRESH_S = 5.0  # for everything else: a disabled key is refused everywhere within this
KEY_CACHE_ENTRIES_MAX = 10_000  # unknown keys are not cached, so only real keys fill it

# The ledger.
RPM_DEFAULT = 600
HOLDS_MAX = 200  # a hold is at most 60 bytes; the item stays far under DynamoDB's 400 KB
HOLD_GRACE_S = 120  # a hold expires this long after its request's deadline
REFUSALS_PER_MINUTE_MAX = 60  # receipts of refusals a key may cause
# Signatures and attestation reports a key may ask for: KMS signs some 300 times a second for a
# whole region, the certificates without which no PHI is sent among them.
PROOFS_PER_MINUTE_MAX = 60
LEDGER_TRIES_MAX = 5  # same write, same condition
RECEIPT_BYTES_MAX = 1_024  # one DynamoDB write unit
RECEIPT_DAYS = 2_190  # six years: 45 CFR 164.316(b)(2)(i)

# Receipts.
CERTIFICATE_LIFE_S = 3_600  # a receipt key that leaks signs for an hour at most
CERTIFICATE_RENEW_S = 900  # renewed after an answer when less is left; the longest call has 840 s
CERTIFY_TIMEOUT_S = 3.0  # KMS and one write; together they take some 30 ms
CERTIFY_RETRY_S = 5.0  # between two tries that failed: a KMS that is down is not hammered

# Figures.
SVG_BYTES_MAX = 2_000_000  # what the sandbox lets through; text in ten of them fits an answer
SVG_DEPTH_MAX = 64  # charts nest under 12 levels; renderers recurse
# Elements as written: the smallest mark of a real chart is 40 bytes, so 2 MB hold fewer of them.
SVG_NODES_MAX = 50_000
# Elements as drawn, every `use` and pattern unfolded, 256 bytes of path counted as one: a chart of
# 2 MB draws 20,000 marks of up to 1 KB each.
SVG_DRAWN_MAX = 400_000
# Style sheets of one figure, as read and as written: both libraries' have under 400 bytes, and to
# read 2 MB of them takes seconds.
SVG_STYLE_BYTES_MAX = 64 * 1024
SVG_SELECTORS_MAX = 200  # a browser tests each against every element; ggplot2 writes 7

# Days.
DAY_CLOSES_AFTER_S = 3_600  # the last hold of a day expires 960 s after it, and is swept soon
DAY_IS_MISSED_AFTER_S = 7_200  # then whoever closes days has had an hour for it
AUDIT_DAYS_MAX = 3_660  # ten years: receipts are kept for six
FINDINGS_KEPT_MAX = 1_000  # of an audit; what is over it is counted
CERTIFICATES_KEPT_MAX = 10_000  # in memory during an audit, 1 KB each; what falls out is read again

# What a confidential provider adds to its answers.
UPSTREAM_SIGNATURE_S = 5.0  # both tries together; it is cached before the answer has ended
UPSTREAM_SIGNATURE_TRIES_MAX = 2  # the second for a signature that is stored a moment too late
UPSTREAM_SIGNATURE_BYTES_MAX = 4_096  # one has some 450
REPORT_TIMEOUT_S = 20.0  # a quote of CPU and GPUs is made anew for each nonce; under every deadline
REPORT_BYTES_MAX = 4 * 1024 * 1024  # 100 KB an attested machine; a model may have a dozen
NONCE_BYTES_MAX = 32  # what a TDX quote has room for
