"""numpy: .npy files both ways."""
import itertools
import os
import tempfile

from common import check, inspect, need, program

np = need('numpy')


def values_of(kind):
    info = np.finfo(kind) if kind[0] == 'f' else np.iinfo(kind)
    return np.array([[info.min, 0], [1, info.max]], kind)


with tempfile.TemporaryDirectory() as d:
    program('interop', 'write', d)
    for kind in ('i1', 'u1', 'i2', 'u2', 'i4', 'u4', 'i8', 'u8', 'f2', 'f4', 'f8'):
        name = f'{kind[0]}{8 * int(kind[1])}'
        with check(f'written by qnt: {name}'):
            got, want = np.load(f'{d}/{name}.npy'), values_of(kind)
            assert got.dtype == want.dtype and got.shape == (2, 2) and np.array_equal(got, want), got
            np.save(f'{d}/again.npy', want)
            assert open(f'{d}/again.npy', 'rb').read() == open(f'{d}/{name}.npy', 'rb').read(), 'not the bytes of numpy.save'
    with check('written by qnt: no dimension, no element'):
        assert np.load(f'{d}/rank0.npy').shape == () and np.load(f'{d}/rank0.npy') == 1.5
        assert np.load(f'{d}/empty.npy').shape == (0, 3)

    rng = np.random.default_rng(0)
    for kind, order, version in itertools.product(('i1', 'u1', 'i2', 'u2', 'i4', 'u4', 'i8', 'u8', 'f2', 'f4', 'f8'), 'CF', ((1, 0), (2, 0), (3, 0))):
        with check(f'written by numpy: {kind} in order {order}, version {version[0]}.{version[1]}'):
            a = np.asarray(rng.integers(0, 100, (3, 5, 7)).astype(kind), order=order)
            with open(f'{d}/a.npy', 'wb') as f:
                np.lib.format.write_array(f, a, version=version)
            program('interop', 'copy', f'{d}/a.npy', f'{d}/b.npy')
            b = np.load(f'{d}/b.npy')
            assert b.dtype == a.dtype and b.flags.c_contiguous and np.array_equal(a, b)
            assert inspect(f'{d}/a.npy')['facts']['order'] == ('Fortran' if order == 'F' else 'C')
    with check('written by numpy: booleans, no dimension, no element'):
        for a in (np.array([True, False, True]), np.array(2.5, 'f4'), np.zeros((0, 3), 'f4')):
            np.save(f'{d}/a.npy', a)
            program('interop', 'copy', f'{d}/a.npy', f'{d}/b.npy')
            b = np.load(f'{d}/b.npy')
            assert b.dtype == a.dtype and b.shape == a.shape and np.array_equal(a, b)
    with check('refused: big-endian numbers, objects, structures, texts, complex numbers'):
        for a in (np.zeros(2, '>f4'), np.array([{}, 1], object), np.zeros(2, 'i4,f4'), np.array(['x']), np.zeros(2, 'c8')):
            np.save(f'{d}/a.npy', a, allow_pickle=True)
            try:
                program('interop', 'copy', f'{d}/a.npy', f'{d}/b.npy')
            except RuntimeError as e:
                assert 'a.npy' in str(e)
            else:
                raise AssertionError(f'{a.dtype} was read')
