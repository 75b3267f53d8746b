;; Drops a tensor twice.
(func $provoked (local $tensor i32)
    (local.set $tensor (call $tensor))
    (call $drop-tensor (local.get $tensor))
    (call $drop-tensor (local.get $tensor)))
