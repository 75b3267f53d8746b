;; Returns without giving back the item that it borrowed.
(func $provoked
    (global.set $keeps (i32.const 1)))
