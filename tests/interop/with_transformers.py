"""transformers: its GPT-2 runs what qnt writes, qnt runs what it saves; logits and tokens against ours.

Logits are compared over the positions of the prompts, ours in f32. `same weights` is transformers with its weights dequantized to f32: what
differs then are sums in another order and another tanh. Quantized it runs bitsandbytes' own products, which round the activations: 4 bits
to bf16 (on a CPU with AVX-512 BF16, else not at all), LLM.int8 to 8 bits a row."""
import json
import logging
import os
import shutil
import tempfile

os.environ['HF_HUB_OFFLINE'] = '1'
from common import MODEL, check, dump, logits, need, program, quantize, same_bits

np = need('numpy')
torch = need('torch')
transformers = need('transformers')
from transformers import AutoModelForCausalLM, AutoTokenizer

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
logging.getLogger('bitsandbytes').setLevel(logging.ERROR)
SAME_WEIGHTS, QUANTIZED = 1e-4, 0.5  # largest difference of a logit
BOUNDS = f'logits within {QUANTIZED}, of the same weights within {SAME_WEIGHTS}'
PROMPTS = ['Once upon a time, in a small village by the sea,', 'The capital of France is', 'def fibonacci(n):\n    if n < 2:', '1848 was a year of revolutions; in Paris the king']
HARD = ['', ' ', '\n \t x', 'hello  world', "it's we'll I'M don''t", ' ' * 70, '1234567 8,901.5', 'naïve café', '日本語 中文 한국어', '🤦🏽‍♂️', 'a\u0301\u0301', '\u00a0x\u2003y\u3000z', 'Привет', 'हिन्दी', '\x00\x01\x7f', '...!?!—', 'ǅ ʼn ẞ', '\ufeffbom']


def compare(model, path, form='f32', mode='exact'):
    """Largest difference of a logit, positions, positions with the same best token."""
    largest, positions, same_top = 0.0, 0, 0
    for prompt in PROMPTS:
        ids = tokenizer(prompt)['input_ids']
        with torch.no_grad():
            theirs = model(torch.tensor([ids])).logits[0].float().numpy()
        ours = logits(path, form, mode, ids)
        largest, positions, same_top = max(largest, float(np.abs(ours - theirs).max())), positions + len(ids), same_top + int((ours.argmax(1) == theirs.argmax(1)).sum())
    print(f'    logits differ by {largest:.3g} at most, {same_top} of {positions} positions have the same best token')
    return largest


def with_plain_weights(model):
    """The shipped model, its matrices replaced by what those of a quantized one stand for."""
    plain = load(MODEL)
    for name, w in model.named_parameters():
        if type(w).__name__ in ('Params4bit', 'Int8Params'):
            values = dequantize_4bit(w.data, w.quant_state) if type(w).__name__ == 'Params4bit' else int8_vectorwise_dequant(w.data, w.SCB)
            plain.get_parameter(name).data = values.float().T.contiguous()
    return plain


def compare_both(model, path):
    assert compare(with_plain_weights(model), path) <= SAME_WEIGHTS  # first, because a forward pass on a CPU reorders the codes
    assert compare(model, path) <= QUANTIZED


def folder_of(weights, config):
    """A model in Hugging Face's layout around a file of weights."""
    folder = tempfile.mkdtemp(dir=d)
    for name in os.listdir(MODEL):
        if name != 'model.safetensors':
            shutil.copy(f'{MODEL}/{name}', folder)
    shutil.move(weights, f'{folder}/model.safetensors')
    settings = json.load(open(f'{MODEL}/config.json')) | ({'quantization_config': config} if config else {})
    json.dump(settings, open(f'{folder}/config.json', 'w'))
    return folder


def load(folder, **options):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options).eval()


with tempfile.TemporaryDirectory() as d:
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    with check(f'{len(HARD)} hard strings have the same tokens'):
        json.dump(HARD, open(f'{d}/texts.json', 'w'))
        ours = json.loads(program('interop', 'tokens', MODEL, f'{d}/texts.json'))
        for text, ids in zip(HARD, ours):
            assert tokenizer(text)['input_ids'] == ids, (text, tokenizer(text)['input_ids'], ids)
    with check(f'the shipped model: logits within {SAME_WEIGHTS}'):
        assert compare(load(MODEL), MODEL) <= SAME_WEIGHTS
    with check(f'written by qnt-quantize as f32: logits within {SAME_WEIGHTS}'):
        quantize(MODEL, f'{d}/m.safetensors', '--format', 'f32')
        folder = folder_of(f'{d}/m.safetensors', None)
        assert compare(load(folder), folder) <= SAME_WEIGHTS

    need('bitsandbytes')
    need('accelerate')
    from bitsandbytes.functional import dequantize_4bit, int8_vectorwise_dequant
    from transformers import BitsAndBytesConfig
    four = lambda kind, nested=False: {'quant_method': 'bitsandbytes', 'load_in_4bit': True, 'load_in_8bit': False, 'bnb_4bit_quant_type': kind, 'bnb_4bit_use_double_quant': nested,
                                       'bnb_4bit_compute_dtype': 'float32', 'bnb_4bit_quant_storage': 'uint8'}
    eight = {'quant_method': 'bitsandbytes', 'load_in_4bit': False, 'load_in_8bit': True, 'llm_int8_threshold': 6.0}
    settings = {'nf4:64': four('nf4'), 'nf4_dq:64': four('nf4', True), 'fp4:64': four('fp4'), 'int8_channel': eight}

    for form, config in settings.items():
        with check(f'written by qnt-quantize as {form}, run by transformers with bitsandbytes: {BOUNDS}'):
            json.dump([['wte', 'f32'], ['*', form]], open(f'{d}/policy.json', 'w'))
            quantize(MODEL, f'{d}/m.safetensors', '--policy', f'{d}/policy.json')
            folder = folder_of(f'{d}/m.safetensors', config)
            model = load(folder)
            layer = type(model.transformer.h[0].mlp.c_fc).__name__
            assert layer == ('Linear8bitLt' if form == 'int8_channel' else 'Linear4bit'), layer
            compare_both(model, folder)

    for form, config in settings.items():
        with check(f'quantized and saved by transformers as {form}, run by qnt: equal weights, {BOUNDS}'):
            kinds = {k: v for k, v in config.items() if k != 'quant_method'}
            model = load(MODEL, quantization_config=BitsAndBytesConfig(**kinds))
            folder = tempfile.mkdtemp(dir=d)
            model.save_pretrained(folder)
            for name in ('vocab.json', 'merges.txt'):
                shutil.copy(f'{MODEL}/{name}', folder)
            ours, seen = dump(folder), 0
            for name, (entry, values, packed) in ours.items():
                if not entry['stored_as'].startswith('bitsandbytes'):
                    continue
                seen += 1
                w = model.get_parameter(name)
                theirs = int8_vectorwise_dequant(w.data, w.SCB) if form == 'int8_channel' else dequantize_4bit(w.data, w.quant_state)
                assert same_bits(values, theirs.float().numpy().reshape(values.shape)), name
            assert seen == 16, sorted(ours)
            compare_both(model, folder)
