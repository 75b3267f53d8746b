;; Traps in its start function.
(func $trap unreachable)
(start $trap)
