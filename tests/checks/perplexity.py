#!/usr/bin/env python3
"""perplexity.py PROGRAM GOLDENS TEXT MODEL: perplexities of the model in every format beside those of another system.

PROGRAM is qnt-perplexity, GOLDENS tests/data/model/goldens.json, TEXT the validation text of WikiText-2 as the goldens name it, MODEL a
folder with the f32 weights that the goldens were made from (rounding them to f16 first, as the shipped file does, moves int4 by 0.03 %).
Judged: f32 within 0.01 %, and each weight-only quantization of the linear layers (exact mode, f32 scales) within 0.02 %. The rows
after them (int8 activations; everything quantized, token embedding and head included) are for information."""
import hashlib
import json
import subprocess
import sys

JUDGED = [('f32', 'fp32', 0.01), ('int8', 'int8_per_tensor_sym', 0.02), ('int8_channel', 'int8_per_channel_sym', 0.02), ('nf4:64', 'nf4_block64_bnb', 0.02),
          ('int4:32:f32', 'int4_sym_group32', 0.02), ('int4:64:f32', 'int4_sym_group64', 0.02), ('int4:128:f32', 'int4_sym_group128', 0.02)]
SHOWN = ['int8', 'int8_channel', 'int8:32', 'nf4:64', 'nf4_dq:64', 'int4:32', 'int4:64', 'int4:128', 'uint4:64']


def measure(program, text, model, *flags):
    return json.loads(subprocess.run([program, '--text', text, '--model', model, *flags], check=True, stdout=subprocess.PIPE).stdout)


def main(program, goldens, text, model):
    golden = json.load(open(goldens))['perplexity']
    if hashlib.sha256(open(text, 'rb').read()).hexdigest() != golden['text_sha256']:
        sys.exit(f'perplexity.py: {text} is not the text of the goldens')
    failed = []
    print(f'{"format":14} {"mode":10} {"quantized":9} {"bits":>6} {"ppl":>10} {"+-":>6} {"reference":>10} {"differs":>9}')
    for name, key, most in JUDGED:
        r = measure(program, text, model, '--format', name, '--mode', 'exact', '--linear-only')
        reference = golden['results'][key]['nonoverlap_512']
        percent = 100 * (r['ppl'] / reference['ppl'] - 1)
        if abs(percent) > most or r['scored_tokens'] != reference['scored_tokens']:
            failed.append(name)
        print(f'{name:14} {"exact":10} {"linear":9} {r["effective_bits"]:6.2f} {r["ppl"]:10.4f} {r["standard_error"]:6.2f} {reference["ppl"]:10.4f} {percent:+8.4f}%', flush=True)
    for quantized in ('linear', 'all'):
        for name in SHOWN:
            r = measure(program, text, model, '--format', name, '--mode', 'int8', *(['--linear-only'] if quantized == 'linear' else []))
            print(f'{name:14} {"int8":10} {quantized:9} {r["effective_bits"]:6.2f} {r["ppl"]:10.4f} {r["standard_error"]:6.2f}', flush=True)
    sys.exit(f'perplexity.py: too far from the reference: {", ".join(failed)}' if failed else 0)


main(*sys.argv[1:])
