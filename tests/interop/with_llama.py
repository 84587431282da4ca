"""llama-cpp-python: llama.cpp runs the GGUF files of qnt; its tokens, logits and greedy texts against ours.

Two programs that round differently do not have equal logits, so equal texts are no promise. What is held instead, for every position of
the texts: |logit - logit of llama.cpp| <= the bound of the format below, hence the same greedy token wherever the best two logits are
more than twice the bound apart. `exact` is our mode of f32 activations, `int8` the one that rounds them to 8 bits a row; llama.cpp rounds
them to 8 bits a block of 32 for Q8_0 and Q4_0, and takes GELU from a table of f16. Keys and values are f32 here in both programs."""
import json
import tempfile

from common import MODEL, Skip, check, logits, need, program, quantize, shared

np = need('numpy')
llama_cpp = need('llama_cpp', 'llama_cpp_python')
low = llama_cpp.llama_cpp

COUNT = 32
PROMPTS = ['Once upon a time', 'The capital of France is', 'def fibonacci(n):', 'It was a dark and stormy night; the rain fell', '1, 2, 3, 4,', 'In the year 1848', '"Who is there?" she asked.',
           'Water boils at']
# File, our format, our mode: largest difference of a logit, about twice what was found (0.0042, 0.0105, 0.20, 0.35, 0.20, 0.31).
BOUNDS = {('f32', 'f32', 'exact'): 0.01, ('f16', 'f16', 'exact'): 0.02, ('q8_0', 'int8:32', 'exact'): 0.4, ('q8_0', 'int8:32', 'int8'): 0.7, ('q4_0', 'int4:32', 'exact'): 0.4,
          ('q4_0', 'int4:32', 'int8'): 0.7}
HARD = ['', ' ', '  ', '\n', ' \n \t\r\n  x', 'hello  world', "it's we'll I'M THEY'RE don''t", 'x'*300, ' ' * 70, '1234567 8,901.5', 'naïve café Ünïcode', 'ﬁ ℌ ①②', '日本語のテキスト 中文 한국어', '🙂🤦🏽‍♂️ 👩‍👩‍👧', 'a\u0301\u0301 e\u0308', '\u00a0nbsp\u2003em\u3000wide',
        'Привет, мир!', 'שלום עולם', 'مرحبا', 'हिन्दी', '<|endoftext|>', 'a<|endoftext|>b', '\x00\x01\x7f', '...!?!—–-- ___', 'foo(bar)[i]->x == "y"', '\ufeffbom', 'ǅ ʼn ẞ', '\u200b\u200d zero']


DEFAULTS = low.llama_model_default_params


def without_repacking():
    """ggml's kernels for AMX end in an illegal instruction on some machines: weights stay as they lie in the file."""
    parameters = DEFAULTS()
    parameters.use_extra_bufts = False
    return parameters


low.llama_model_default_params = without_repacking


def open_model(path):
    f32 = 0  # GGML_TYPE_F32
    return llama_cpp.Llama(path, n_ctx=512, logits_all=True, n_threads=2, n_threads_batch=2, type_k=f32, type_v=f32, flash_attn=False, verbose=False)


def forced(llm, ids):
    llm.reset()
    llm.eval(ids)
    return np.array(llm.scores[:len(ids)])


def greedy(llm, ids, n):
    llm.reset()
    llm.eval(ids)
    out = []
    while len(out) < n:
        token = int(np.argmax(llm.scores[llm.n_tokens - 1]))
        if token == llm.token_eos():
            break
        out.append(token)
        llm.eval([token])
    return out


def compare(llm, path, form, mode, bound):
    """Texts that are equal, positions, positions with the same best token, largest difference."""
    equal, positions, same_top, largest = 0, 0, 0, 0.0
    for prompt in PROMPTS:
        ours = json.loads(program('generate', '--model', path, '--format', form, '--mode', mode, '--temperature', 0, '-n', COUNT, '--prompt', prompt, '--json'))
        ids = ours['prompt_ids']
        assert llm.tokenize(prompt.encode(), add_bos=False) == ids, prompt
        theirs = greedy(llm, ids, COUNT)
        a, b = logits(path, form, mode, ids + ours['ids']), forced(llm, ids + ours['ids'])
        delta = np.abs(a - b).max(axis=1)
        positions, same_top, largest = positions + len(a), same_top + int((a.argmax(1) == b.argmax(1)).sum()), max(largest, float(delta.max()))
        if theirs == ours['ids']:
            equal += 1
            continue
        at = next(i for i, (x, y) in enumerate(zip(theirs + [-1], ours['ids'] + [-1])) if x != y)
        row, x, y = b[len(ids) + at - 1], theirs[at], ours['ids'][at]
        print(f'    {prompt!r}: from token {at} on ours is another text; llama.cpp has logits {row[x]:.4f} and {row[y]:.4f} for the two')
        assert row[x] - row[y] <= 2 * bound
    return equal, positions, same_top, largest


with tempfile.TemporaryDirectory() as d:
    llm = None
    for (file, form, mode), bound in BOUNDS.items():
        path = f'{d}/{file}.gguf'
        with check(f'{file}.gguf in llama.cpp, ours in mode {mode}: logits within {bound}'):
            if llm is None or llm.model_path != path:
                quantize(MODEL, path, '--format', file)
                llm = open_model(path)
            equal, positions, same_top, largest = compare(llm, path, form, mode, bound)
            print(f'    {equal} of {len(PROMPTS)} texts of {COUNT} tokens are equal; {same_top} of {positions} positions have the same best token; logits differ by {largest:.5f} at most')
            assert largest <= bound, largest

    def same_tokens(texts):
        json.dump(texts, open(f'{d}/texts.json', 'w'))
        ours = json.loads(program('interop', 'tokens', llm.model_path, f'{d}/texts.json'))
        for text, ids in zip(texts, ours):
            theirs = llm.tokenize(text.encode(), add_bos=False, special=False) if text else []
            assert theirs == ids, (text, theirs, ids)

    with check(f'{len(HARD)} hard strings have the same tokens'):
        same_tokens(HARD)
    with check('hard strings of the reference data have the same tokens'):
        cases = json.load(open(shared('data', 'gpt2_tokenizer', 'tokenizer_goldens.json')))['cases']
        same_tokens([c['text'] for c in cases])
