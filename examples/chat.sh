#!/usr/bin/env bash
# Ask about a patient in Switzerland with curl. The key goes in by standard input: on the command line
# every user of the machine could read it.
set -euo pipefail

echo "Authorization: Bearer $OPENAI_API_KEY" |
  curl --fail-with-body --silent --show-error --include "$OPENAI_BASE_URL/chat/completions" \
    --header @- --header "X-Region: CH" --header "X-PHI: true" \
    --data '{"model": "gemma-4", "messages": [{"role": "user", "content": "Summarise this note."}]}'
echo
