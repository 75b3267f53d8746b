;; Recurses without touching its memory, until the stack of the machine ends it.
(func $deeper (param i32) (result i32)
    (i32.add (local.get 0) (call $deeper (i32.add (local.get 0) (i32.const 1)))))
(func $provoked (drop (call $deeper (i32.const 0))))
