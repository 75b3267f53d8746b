;; Asks for the type of a tensor that it has dropped.
(func $provoked (local $tensor i32)
    (local.set $tensor (call $tensor))
    (call $drop-tensor (local.get $tensor))
    (drop (call $tensor-dtype (local.get $tensor))))
