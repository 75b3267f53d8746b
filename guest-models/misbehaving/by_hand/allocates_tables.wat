;; Grows a table without end.
(table $hoard 0 funcref)
(func $provoked
    (loop $again
        (drop (table.grow $hoard (ref.null func) (i32.const 1000)))
        (br $again)))
