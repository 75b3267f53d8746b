;; Passes a text that lies past the end of its memory.
(func $provoked
    (drop (call $signal (global.get $findings) (i32.const -16) (i32.const 1000) (f32.const 1))))
