"""bitsandbytes: what qnt writes in its layout, what bitsandbytes quantizes, the same weights on both sides.

Values are compared bit for bit, the sign of a zero aside (FP4's code 8 is -0 here and there). For shapes whose blocks cross rows the
reference is bitsandbytes' formula, code * absmax, since its AVX-512 kernel takes the absmax of another block there."""
import itertools
import json
import tempfile

from common import MODEL, check, dump, need, quantize, same_bits

np = need('numpy')
torch = need('torch')
need('bitsandbytes')
need('safetensors')
import bitsandbytes.functional as F
from safetensors.torch import load_file, save_file

torch.manual_seed(0)


def decoded(codes, state, rows, cols):
    """As bitsandbytes dequantizes, and by its formula."""
    absmax = F.dequantize_blockwise(state.absmax, state.state2) + state.offset if state.nested else state.absmax
    packed = codes.flatten().numpy()
    nibbles = np.stack([packed >> 4, packed & 15], -1).flatten()[:rows * cols]
    formula = (state.code.numpy()[nibbles] * np.repeat(absmax.numpy(), state.blocksize)[:rows * cols]).reshape(rows, cols).astype(np.float32)
    return F.dequantize_4bit(codes, state).float().numpy().reshape(rows, cols), formula


def state_of(tensors, name):
    return F.QuantState.from_dict({k[len(name) + 1:]: v for k, v in tensors.items() if k.startswith(name + '.')}, torch.device('cpu'))


def tensors_of(x, kind, blocksize, nested):
    codes, state = F.quantize_4bit(x, blocksize=blocksize, quant_type=kind, compress_statistics=nested)
    return {'fc.weight': codes} | {'fc.weight.' + k: v.contiguous() for k, v in state.as_dict(packed=True).items()}


with tempfile.TemporaryDirectory() as d:
    source = {k: v for k, (_, v, _) in dump(MODEL).items()}
    for form, kind, nested in (('nf4:64', 'nf4', False), ('nf4_dq:64', 'nf4', True), ('fp4:64', 'fp4', False)):
        with check(f'written by qnt-quantize: the shipped model as {form}'):
            json.dump([['wte', 'f32'], ['*', form]], open(f'{d}/policy.json', 'w'))
            quantize(MODEL, f'{d}/m.safetensors', '--policy', f'{d}/policy.json')
            tensors, ours, seen = load_file(f'{d}/m.safetensors'), dump(f'{d}/m.safetensors'), 0
            for name, (entry, values, packed) in ours.items():
                if not entry['stored_as'].startswith('bitsandbytes'):
                    assert same_bits(values, tensors[name].numpy()), name
                    continue
                seen += 1
                state = state_of(tensors, name)
                own, formula = decoded(tensors[name], state, *entry['shape'])
                assert same_bits(own, formula) and same_bits(values, own), name
                assert packed is None if kind == 'fp4' and nested else same_bits(packed, own), name
                w = torch.from_numpy(np.ascontiguousarray(next(v for k, v in source.items() if k.endswith(name)).T))
                theirs = tensors_of(w, kind, 64, nested)
                assert torch.equal(theirs['fc.weight'], tensors[name]), name  # the codes
                assert torch.equal(theirs['fc.weight.absmax'], tensors[name + '.absmax']), name
            assert seen == 16, seen

    with check('written by qnt-quantize: the shipped model as LLM.int8'):
        json.dump([['wte', 'f32'], ['*', 'int8_channel']], open(f'{d}/policy.json', 'w'))
        quantize(MODEL, f'{d}/m.safetensors', '--policy', f'{d}/policy.json')
        tensors, ours, seen = load_file(f'{d}/m.safetensors'), dump(f'{d}/m.safetensors'), 0
        for name in [n for n in ours if n.removesuffix('weight') + 'SCB' in tensors]:
            seen += 1
            scales = tensors[name.removesuffix('weight') + 'SCB']
            assert same_bits(ours[name][1], F.int8_vectorwise_dequant(tensors[name], scales).numpy()), name
            w = torch.from_numpy(np.ascontiguousarray(next(v for k, v in source.items() if k.endswith(name)).T))
            codes, absmax, _ = F.int8_vectorwise_quant(w.to(torch.float16))
            assert torch.equal(codes, tensors[name]) and torch.equal(absmax, scales), name
        assert seen == 16, seen

    departs = 0
    for kind, nested in itertools.product(('nf4', 'fp4'), (False, True)):
        with check(f'quantized by bitsandbytes, and the same by qnt-quantize: {kind}{", nested" if nested else ""}, blocks of 32 to 4096, six shapes'):
            for blocksize, (rows, cols) in itertools.product((32, 64, 128, 256, 4096), ((64, 256), (48, 768), (33, 96), (7, 40), (1, 1000), (300, 512))):
                x = torch.randn(rows, cols) * 0.05
                x[0, :3] = 0
                theirs = tensors_of(x, kind, blocksize, nested)
                save_file(theirs, f'{d}/theirs.safetensors')
                own, formula = decoded(theirs['fc.weight'], state_of(theirs, 'fc.weight'), rows, cols)
                departs += not same_bits(own, formula)
                entry, values, packed = dump(f'{d}/theirs.safetensors')['fc.weight']
                assert entry['stored_as'] == 'bitsandbytes ' + kind and same_bits(values, formula), (blocksize, rows, cols)
                assert packed is None or same_bits(packed, formula), (blocksize, rows, cols)
                if kind == 'fp4' and nested:
                    continue  # which qnt-quantize does not write
                save_file({'fc.weight': x}, f'{d}/x.safetensors')
                quantize(f'{d}/x.safetensors', f'{d}/ours.safetensors', '--format', f'{kind}{"_dq" if nested else ""}:{blocksize}')
                ours = load_file(f'{d}/ours.safetensors')
                assert ours.keys() == theirs.keys() and all(ours[k].dtype == theirs[k].dtype and ours[k].shape == theirs[k].shape for k in ours if 'quant_state' not in k)
                assert torch.equal(ours['fc.weight'], theirs['fc.weight']), (blocksize, rows, cols)
                assert nested or torch.equal(ours['fc.weight.absmax'], theirs['fc.weight.absmax']), (blocksize, rows, cols)
                _, formula = decoded(ours['fc.weight'], state_of(ours, 'fc.weight'), rows, cols)  # the offset of nested scales may differ in its last bits
                assert same_bits(dump(f'{d}/ours.safetensors')['fc.weight'][1], formula), (blocksize, rows, cols)
    print(f'    bitsandbytes\' own kernel departed from its formula in {departs} of 120 cases (capability: {torch.backends.cpu.get_cpu_capability()})')

    with check('quantized by bitsandbytes: LLM.int8'):
        for rows, cols in ((64, 256), (33, 97), (768, 768)):
            x = torch.randn(rows, cols) * 0.05
            x[1] = 0
            codes, absmax, _ = F.int8_vectorwise_quant(x.to(torch.float16))
            save_file({'fc.weight': codes, 'fc.SCB': absmax, 'fc.weight_format': torch.tensor(0, dtype=torch.uint8)}, f'{d}/theirs.safetensors')
            entry, values, _ = dump(f'{d}/theirs.safetensors')['fc.weight']
            assert entry['stored_as'] == 'bitsandbytes llm_int8' and same_bits(values, F.int8_vectorwise_dequant(codes, absmax).numpy())

    for kind, form, nested in (('nf4', 'nf4:64', False), ('nf4', 'nf4_dq:64', True), ('fp4', 'fp4_bnb:64', False)):
        with check(f'quantized by bitsandbytes, into a .qnt as {form}: the same codes'):
            theirs = tensors_of(torch.randn(64, 256) * 0.05, kind, 64, nested)
            save_file(theirs, f'{d}/theirs.safetensors')
            report = quantize(f'{d}/theirs.safetensors', f'{d}/m.qnt', '--format', form)
            (_, values, _), = dump(f'{d}/m.qnt').values()
            assert report['tensors'][0]['lossless'] and same_bits(values, decoded(theirs['fc.weight'], state_of(theirs, 'fc.weight'), 64, 256)[0])
