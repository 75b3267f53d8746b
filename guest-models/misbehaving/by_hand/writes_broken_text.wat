;; Writes a label that is no UTF-8.
(data (i32.const 1024) "\ff\fe")
(func $provoked
    (drop (call $signal (global.get $findings) (i32.const 1024) (i32.const 2) (f32.const 1))))
