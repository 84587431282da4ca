"""safetensors: files both ways, and models in several files."""
import json
import os
import tempfile

from common import MODEL, ROOT, check, dump, inspect, need, program, quantize, same_bits

np = need('numpy')
safetensors = need('safetensors')
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

NAMES = {'I8': 'i1', 'U8': 'u1', 'I16': 'i2', 'U16': 'u2', 'I32': 'i4', 'U32': 'u4', 'I64': 'i8', 'U64': 'u8', 'F16': 'f2', 'F32': 'f4', 'F64': 'f8'}

with tempfile.TemporaryDirectory() as d:
    program('interop', 'write', d)
    with check('written by qnt: every number type, names, metadata'):
        with safe_open(f'{d}/dtypes.safetensors', 'numpy') as f:
            assert f.metadata() == {'format': 'pt', 'note': 'grüß "\\\n\x01'}, f.metadata()
            for dtype, kind in NAMES.items():
                info = np.finfo(kind) if kind[0] == 'f' else np.iinfo(kind)
                got = f.get_tensor(dtype.lower())
                assert f.get_slice(dtype.lower()).get_dtype() == dtype and got.dtype == np.dtype(kind)
                assert np.array_equal(got, np.array([[info.min, 0], [1, info.max]], kind)), (dtype, got)
            assert f.get_tensor('bool').tolist() == [True, False, True]
            assert f.get_slice('bf16').get_dtype() == 'BF16' and f.get_slice('bf16').get_shape() == [2]
            assert f.get_tensor('scalar').shape == () and f.get_tensor('scalar') == 1.5
            assert f.get_tensor('empty').shape == (0, 4) and f.get_tensor('grüß "quoted"').tolist() == [7]

    with check('written by qnt-quantize: the shipped model as f32, f16'):
        want = load_file(f'{MODEL}/model.safetensors')
        for form, kind in (('f32', 'f4'), ('f16', 'f2')):
            quantize(MODEL, f'{d}/m.safetensors', '--format', form)
            got = load_file(f'{d}/m.safetensors')
            strip = {k.removeprefix('transformer.'): v for k, v in want.items()}
            assert got.keys() == strip.keys() - {'lm_head.weight'}, got.keys() ^ strip.keys()
            for k, v in got.items():
                w = strip[k].astype(np.float32).astype(kind)
                assert v.dtype == np.dtype(kind) and np.array_equal(v, w), k
            with safe_open(f'{d}/m.safetensors', 'numpy') as f:
                assert f.metadata()['format'] == 'pt' and f.metadata()['source'] == 'qnt-gpt2-5m', f.metadata()

    with check('written by safetensors: listed, verified and decoded'):
        rng = np.random.default_rng(0)
        arrays = {f't.{k}': rng.integers(0, 100, (4, 6)).astype(k) for k in NAMES.values()}
        arrays |= {'rank0': np.array(2.5, 'f4'), 'empty': np.zeros((0, 3), 'f4'), 'rank4': rng.standard_normal((2, 3, 1, 5)).astype('f4'), 'naïve "x"': np.ones(1, 'f2')}
        save_file(arrays, f'{d}/theirs.safetensors', {'note': 'grüß "\n'})
        seen = inspect(f'{d}/theirs.safetensors')
        assert seen['verified'] and seen['metadata'] == {'note': 'grüß "\n'}
        listed = {t['name']: t for t in seen['tensors']}
        assert listed.keys() == arrays.keys()
        decoded = dump(f'{d}/theirs.safetensors')
        for name, a in arrays.items():
            assert tuple(listed[name]['shape']) == a.shape and listed[name]['bytes'] == a.nbytes and NAMES[listed[name]['format']] == a.dtype.str[1:], name
            if a.dtype.kind == 'f' and a.dtype.itemsize < 8:
                assert same_bits(decoded[name][1], a.astype('f4')), name

    with check('written by safetensors, converted by qnt-quantize: the bits of the other file'):
        w = {'fc.weight': rng.standard_normal((48, 64)).astype('f4'), 'fc.bias': rng.standard_normal(48).astype('f4')}
        save_file(w, f'{d}/theirs.safetensors')
        quantize(f'{d}/theirs.safetensors', f'{d}/ours.safetensors', '--format', 'f32')
        ours = load_file(f'{d}/ours.safetensors')
        assert ours.keys() == w.keys() and all(np.array_equal(ours[k], w[k]) for k in w)

    with check('several files with an index: each tensor from its file'):
        os.mkdir(f'{d}/shards')
        parts = {'model-00001-of-00002.safetensors': ['a', 'b'], 'model-00002-of-00002.safetensors': ['c']}
        tensors = {n: rng.standard_normal((8, 16)).astype('f4') for n in 'abc'}
        for file, names in parts.items():
            save_file({n: tensors[n] for n in names}, f'{d}/shards/{file}')
        index = {'metadata': {'total_size': sum(t.nbytes for t in tensors.values())}, 'weight_map': {n: f for f, names in parts.items() for n in names}}
        json.dump(index, open(f'{d}/shards/model.safetensors.index.json', 'w'))
        decoded = dump(f'{d}/shards/model.safetensors.index.json')
        assert decoded.keys() == tensors.keys() and all(same_bits(decoded[n][1], tensors[n]) for n in tensors)
        quantize(f'{d}/shards', f'{d}/whole.safetensors', '--format', 'f32')
        assert all(np.array_equal(v, tensors[k]) for k, v in load_file(f'{d}/whole.safetensors').items())
