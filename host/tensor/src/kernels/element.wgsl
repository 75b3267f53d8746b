// One element per thread. Above: N, `compute(i)`, `store(i, it)`.

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (part.x + group.x) * 64u + thread;
    if i < N {
        store(i, compute(i));
    }
}
