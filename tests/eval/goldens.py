#!/usr/bin/env python3
"""goldens.py PROGRAM GOLDENS TEXT MODEL: perplexities that qnt-eval finds for f32 beside those of another system, under both protocols.

PROGRAM is qnt-eval, GOLDENS tests/data/model/goldens.json, TEXT the validation text of WikiText-2 as the goldens name it, MODEL a folder with the
f32 weights that the goldens were made from. Judged: within 0.01 %, over as many tokens."""
import json
import subprocess
import sys
import tempfile

program, goldens, text, model = sys.argv[1:]
golden = json.load(open(goldens))['perplexity']
with tempfile.TemporaryDirectory() as out:
    subprocess.run([program, '--model', model, '--text', text, '--full', '--no-text', '--no-speed', '--out', out], check=True, stdout=subprocess.DEVNULL)
    found = json.load(open(out + '/comparison.json'))
[row], [about] = found['configurations'], found['models']
failed = about['protocol']['text']['sha256'] != golden['text_sha256'] or about['protocol']['text']['tokens'] != golden['tokens']
for name, key in (('nonoverlap', 'nonoverlap_512'), ('stride', 'stride_256')):
    expected, measured = golden['results']['fp32'][key], row['perplexity'][name]
    percent = 100 * (measured['ppl'] / expected['ppl'] - 1)
    failed |= abs(percent) > 0.01 or measured['scored_tokens'] != expected['scored_tokens']
    print(f'{key:15} {measured["scored_tokens"]} tokens, perplexity {measured["ppl"]:.6f} +- {measured["standard_error"]:.2f}, reference {expected["ppl"]:.6f}, differs {percent:+.6f} %')
sys.exit('goldens.py: not the figures of the reference' if failed else 0)
