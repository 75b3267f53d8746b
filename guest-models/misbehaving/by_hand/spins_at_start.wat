;; Spins in its start function, before it is ever called.
(func $spin (loop $again (br $again)))
(start $spin)
