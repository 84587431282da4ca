"""gguf (llama.cpp's Python package): files both ways; its decoder against ours, bit for bit."""
import json
import os
import tempfile

from common import MODEL, Skip, check, dump, inspect, need, program, quantize, same_bits, shared

np = need('numpy')
gguf = need('gguf')
Q = gguf.GGMLQuantizationType


def random_blocks(rng, q, rows, cols):
    """Any codes, scales made finite."""
    n, size = gguf.GGML_QUANT_SIZES[q]
    blocks = rng.integers(0, 256, (rows, cols // n * size), dtype=np.uint8)
    each = blocks.reshape(-1, size)
    if q == Q.MXFP4:
        each[:, 0] %= 250
    high_bytes = {Q.Q4_1: (1, 3), Q.Q5_1: (1, 3), Q.Q4_K: (1, 3), Q.Q5_K: (1, 3), Q.Q6_K: (209,), Q.Q2_K: (81, 83), Q.Q3_K: (109,), Q.MXFP4: ()}
    for at in high_bytes.get(q, (1,)):
        each[:, at] &= 0xBB
    if q == Q.Q8_0:
        each[:, 2:][each[:, 2:] == 0x80] = 0  # ggml makes none
    return blocks


def theirs(tensor):
    return gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)


with tempfile.TemporaryDirectory() as d:
    program('interop', 'write', d)
    with check('written by qnt: values of all types'):
        r = gguf.GGUFReader(f'{d}/numbers.gguf')
        want = {'general.architecture': 'qnt-test', 'general.alignment': 64, 't.u8': 250, 't.i8': -3, 't.u16': 65535, 't.i16': -300, 't.u32': 4000000000, 't.i32': -70000, 't.f32': 1.5,
                't.bool': True, 't.string': 'grüß', 't.u64': 1 << 63, 't.i64': -5000000000, 't.f64': 0.1, 't.strings': ['x', 'yz', ''], 't.i32s': [-1, 7], 't.f32s': [0.25, -2.0],
                't.bools': [True, False]}
        for key, value in want.items():
            assert r.get_field(key).contents() == value, (key, r.get_field(key).contents())
        assert {k for k in r.fields if not k.startswith('GGUF.')} == want.keys()
        tensors = {t.name: t.data for t in r.tensors}
        assert tensors['matrix'].tolist() == [[-1, 0.5, 0], [2, 3, -4]] and tensors['cube'].shape == (1, 3, 2)

    vocab = json.load(open(f'{MODEL}/vocab.json'))
    weights = dump(MODEL)
    for form, q in (('f32', Q.F32), ('f16', Q.F16), ('bf16', Q.BF16), ('q8_0', Q.Q8_0), ('q4_0', Q.Q4_0), ('q4_1', Q.Q4_1)):
        with check(f'written by qnt-quantize: the shipped model as {q.name}, blocks equal gguf.quantize'):
            quantize(MODEL, f'{d}/m.gguf', '--format', form)
            r = gguf.GGUFReader(f'{d}/m.gguf')
            value = lambda key: r.get_field(key).contents()
            assert value('general.architecture') == 'gpt2' and value('gpt2.block_count') == 4 and value('gpt2.embedding_length') == 256
            assert value('tokenizer.ggml.model') == 'gpt2' and value('tokenizer.ggml.tokens') == sorted(vocab, key=vocab.get)
            assert value('tokenizer.ggml.merges') == [m for m in open(f'{MODEL}/merges.txt', encoding='utf-8').read().split('\n') if m and not m.startswith('#version')]
            ours = dump(f'{d}/m.gguf')
            assert {t.name for t in r.tensors} == ours.keys() and len(ours) == 52
            for t in r.tensors:
                assert same_bits(theirs(t).reshape(ours[t.name][1].shape), ours[t.name][1]), t.name
            fc = next(t for t in r.tensors if t.name == 'blk.1.ffn_up.weight')
            source = next(v for k, (_, v, _) in weights.items() if k.endswith('h.1.mlp.c_fc.weight'))
            assert fc.tensor_type == q and list(fc.shape) == [256, 1024]
            assert fc.data.tobytes() == gguf.quantize(np.ascontiguousarray(source.T), q).tobytes()

    with check('written by GGUFWriter: values of all types'):
        w = gguf.GGUFWriter(f'{d}/theirs.gguf', 'qnt-test')
        want = {'u8': (w.add_uint8, 250), 'i8': (w.add_int8, -3), 'u16': (w.add_uint16, 65535), 'i16': (w.add_int16, -300), 'u32': (w.add_uint32, 4000000000), 'i32': (w.add_int32, -70000),
                'f32': (w.add_float32, 1.5), 'bool': (w.add_bool, True), 'string': (w.add_string, 'grüß'), 'u64': (w.add_uint64, 2**63 + 1), 'i64': (w.add_int64, -5000000000),
                'f64': (w.add_float64, 0.1)}
        lists = {'strings': ('string', ['x', 'yz', 'ä']), 'i32s': ('i32', [-1, 7]), 'f32s': ('f32', [0.25, -2.0]), 'bools': ('bool', [True, False])}
        for kind, (add, value) in want.items():
            add('t.' + kind, value)
        for name, (_, value) in lists.items():
            w.add_array('t.' + name, value)
        w.add_custom_alignment(64)
        w.add_tensor('one', np.ones((2, 3), np.float32))
        w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()
        seen = json.loads(program('interop', 'metadata', f'{d}/theirs.gguf'))
        for kind, (_, value) in want.items():
            assert seen['t.' + kind] == {'type': kind, 'element_type': kind, 'value': value}, (kind, seen['t.' + kind])
        for name, (kind, value) in lists.items():
            assert seen['t.' + name] == {'type': 'array', 'element_type': kind, 'value': value}, (name, seen['t.' + name])
        assert seen['general.alignment']['value'] == 64 and inspect(f'{d}/theirs.gguf')['verified']

    rng = np.random.default_rng(1)
    x = (rng.standard_normal((40, 512)) * np.exp(rng.standard_normal((40, 1)))).astype(np.float32)
    x[3], x[5, :32] = 0, 1e-30
    for name in ('F32', 'F16', 'BF16', 'Q8_0', 'Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q2_K', 'Q3_K', 'Q4_K', 'Q5_K', 'Q6_K', 'IQ4_NL', 'IQ4_XS', 'MXFP4'):
        with check(f'written by GGUFWriter: {name}'):
            q = Q[name]
            blocks = {}
            try:
                blocks['encoded'] = gguf.quantize(x, q)
            except NotImplementedError:
                pass  # the package decodes this type only
            if q not in (Q.F32, Q.F16, Q.BF16):
                blocks['random'] = random_blocks(rng, q, *x.shape)
            w = gguf.GGUFWriter(f'{d}/theirs.gguf', 'qnt-test')
            for n, b in blocks.items():
                w.add_tensor(n, b, raw_dtype=q if b.dtype == np.uint8 else None)
            w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()
            ours = dump(f'{d}/theirs.gguf')
            for n, b in blocks.items():
                entry, values, packed = ours[n]
                assert entry['stored_as'] == name and same_bits(values, gguf.dequantize(b, q)), n
                assert (packed is not None) == (name in ('F32', 'F16', 'BF16', 'Q8_0', 'Q4_0')), entry
                assert packed is None or same_bits(packed, values), n

    for name in ('Q8_0', 'Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q4_K', 'Q5_K', 'Q6_K', 'IQ4_NL', 'IQ4_XS', 'MXFP4'):
        with check(f'blocks of ggml\'s own encoder in a file of GGUFWriter: {name}'):
            folder = shared('data', 'goldens', 'real')
            files = [f for f in (f'{folder}/ggml_{name}.npy', f'{folder}/ggml_{name}_rows0_31.npy') if os.path.exists(f)]
            if not files:
                raise Skip('no such golden')
            blocks = np.load(files[0])
            w = gguf.GGUFWriter(f'{d}/theirs.gguf', 'qnt-test')
            w.add_tensor('w', blocks, raw_dtype=Q[name])
            w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()
            assert same_bits(dump(f'{d}/theirs.gguf')['w'][1], gguf.dequantize(blocks, Q[name]))

    for name, form in (('Q8_0', 'int8:32'), ('Q4_0', 'int4:32'), ('F16', 'f16'), ('BF16', 'bf16')):
        with check(f'written by GGUFWriter, {name}, into a .qnt and back by qnt-quantize: the same blocks'):
            blocks = gguf.quantize(x, Q[name])
            w = gguf.GGUFWriter(f'{d}/theirs.gguf', 'qnt-test')
            w.add_tensor('w', blocks, raw_dtype=Q[name] if blocks.dtype == np.uint8 else None)
            w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()
            assert quantize(f'{d}/theirs.gguf', f'{d}/m.qnt', '--format', form)['tensors'][0]['lossless']
            assert same_bits(dump(f'{d}/m.qnt')['w'][1], gguf.dequantize(blocks, Q[name]))
            quantize(f'{d}/m.qnt', f'{d}/back.gguf', '--format', form)
            assert gguf.GGUFReader(f'{d}/back.gguf').tensors[0].data.tobytes() == blocks.tobytes()
