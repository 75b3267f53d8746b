;; Passes its tensor where a model is wanted.
(func $provoked
    (call $model-inputs (call $tensor) (i32.const 512)))
