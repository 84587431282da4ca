"""GPTQ and AWQ: checkpoints built here from the description of the formats, decoded by qnt; no package of theirs is needed.

GPTQ: qweight i32, codes down the inputs, lowest bits first (3 bits as one stream), zeros along the outputs, stored - 1 in v1.
AWQ: 4 bits, output 8 c + (0, 2, 4, 6, 1, 3, 5, 7)[n] in nibble n of word c. Weight = (code - zero) * scale, rounded once."""
import itertools
import json
import os
import tempfile

from common import check, dump, need, quantize, same_bits

np = need('numpy')
need('safetensors')
from safetensors.numpy import load_file, save_file

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def pack(codes, bits):
    """[n, m] -> i32 [ceil(n * bits / 32), m], one stream of bits down each column."""
    n, m = codes.shape
    stream = ((codes[:, None, :] >> np.arange(bits)[None, :, None]) & 1).reshape(n * bits, m).astype(np.uint64)
    stream = np.concatenate([stream, np.zeros((-len(stream) % 32, m), np.uint64)])
    words = (stream.reshape(-1, 32, m) << np.arange(32, dtype=np.uint64)[None, :, None]).sum(1)
    return words.astype(np.uint32).view(np.int32)


def pack_awq(codes):
    """[n, m] -> i32 [n, m / 8]."""
    words = np.zeros((codes.shape[0], codes.shape[1] // 8), np.uint32)
    for nibble, column in enumerate(AWQ_ORDER):
        words |= codes[:, column::8].astype(np.uint32) << np.uint32(4 * nibble)
    return words.view(np.int32)


def write(folder, tensors, config):
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, f'{folder}/model.safetensors')
    json.dump({'model_type': 'test', 'quantization_config': config}, open(f'{folder}/config.json', 'w'))


def weights(q, z, s, group):
    return ((q.astype(np.int64) - z.astype(np.int64)[group]) * s.astype(np.float64)[group]).T.astype(np.float32)


rng = np.random.default_rng(0)
I, O, G = 256, 96, 32
with tempfile.TemporaryDirectory() as d:
    for bits, version, symmetric, act_order in itertools.product((2, 3, 4, 8), ('gptq', 'gptq_v2'), (True, False), (False, True)):
        with check(f'{version}, {bits} bits, {"symmetric" if symmetric else "asymmetric"}{", act-order" if act_order else ""}'):
            q = rng.integers(1 if bits == 8 and symmetric else 0, 2**bits, (I, O))  # int8 panels have no -128
            z = np.full((I // G, O), 2**(bits - 1)) if symmetric else rng.integers(1, 2**bits, (I // G, O))
            s = (rng.random((I // G, O)) * 0.01 + 1e-4).astype(np.float16)
            group = np.arange(I) // G
            if act_order:
                group = rng.permutation(group)
            stored = z - 1 if version == 'gptq' else z
            write(d, {'fc.qweight': pack(q, bits), 'fc.qzeros': pack(stored.T, bits).T, 'fc.scales': s, 'fc.g_idx': group.astype(np.int32)},
                  {'quant_method': 'gptq', 'bits': bits, 'group_size': G, 'sym': symmetric, 'desc_act': act_order, 'checkpoint_format': version})
            entry, values, packed = next(e for e in dump(d).values() if e[0]['stored_as'].startswith('GPTQ'))
            assert same_bits(values, weights(q, z, s, group)), entry
            panels = f'int{bits}:32' if symmetric and bits >= 4 else 'uint4:32' if bits <= 4 else None  # 8 bits with zero points: f32 only
            assert entry['packed'] == panels and (packed is None or same_bits(packed, values)), entry

    for symmetric in (True, False):
        with check(f'awq, {"symmetric" if symmetric else "asymmetric"}'):
            q = rng.integers(0, 16, (I, O))
            z = np.full((I // G, O), 8) if symmetric else rng.integers(0, 16, (I // G, O))
            s = (rng.random((I // G, O)) * 0.01 + 1e-4).astype(np.float16)
            write(d, {'fc.qweight': pack_awq(q), 'fc.qzeros': pack_awq(z), 'fc.scales': s}, {'quant_method': 'awq', 'bits': 4, 'group_size': G, 'zero_point': not symmetric, 'version': 'gemm'})
            entry, values, packed = next(e for e in dump(d).values() if e[0]['stored_as'].startswith('AWQ'))
            assert same_bits(values, weights(q, z, s, np.arange(I) // G)) and same_bits(packed, values), entry
            assert entry['packed'] == ('int4:32' if symmetric else 'uint4:32'), entry

    for name, tensors, config in (('gptq', {'fc.qweight': pack(q, 4), 'fc.qzeros': pack(np.full((O, I // G), 7), 4).T, 'fc.g_idx': (np.arange(I) // G).astype(np.int32)}, {'quant_method': 'gptq', 'bits': 4, 'group_size': G}),
                                  ('awq', {'fc.qweight': pack_awq(q), 'fc.qzeros': pack_awq(np.full((I // G, O), 8))}, {'quant_method': 'awq', 'bits': 4, 'group_size': G, 'version': 'gemm'})):
        with check(f'{name}, a checkpoint into a .qnt by qnt-quantize: the same codes'):
            write(d, tensors | {'fc.scales': s}, config)
            report = quantize(d, f'{d}/m.qnt', '--format', 'int4:32')
            (_, values, _), = dump(f'{d}/m.qnt').values()
            assert report['tensors'][0]['lossless'] and same_bits(values, weights(q, np.full((I // G, O), 8), s, np.arange(I) // G))
