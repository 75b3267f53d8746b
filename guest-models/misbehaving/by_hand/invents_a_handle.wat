;; Uses a handle that it was never given.
(func $provoked
    (drop (call $tensor-dtype (i32.const 12345))))
