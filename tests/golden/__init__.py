"""What callers got from the version before, request by request: answers.jsonl is compared with what
this version answers. `python -m tests.golden.record` writes it anew; the difference is reviewed.

`harness` alone knows how a gateway is composed; the other modules are tables of requests. A line
leaves out what is drawn or signed anew each time, and of a long text or body it has the hash."""
