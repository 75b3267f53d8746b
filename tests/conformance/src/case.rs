//! Tests on disk.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use prost::Message as _;
use tract_onnx::pb::{ModelProto, TensorProto, ValueInfoProto, type_proto};
use trommel_tensor::Dtype;

use crate::describes;
use crate::value::Value;

/// The suites, in the order they are run.
pub(crate) const SUITES: [&str; 4] = ["node", "simple", "pytorch-operator", "light"];

/// A test and where it lies.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its suite.
    pub suite: String,
    /// Its name within the suite.
    pub name: String,
    /// The model.
    model: PathBuf,
}

/// All tests below `folder`, by suite and name.
pub fn list(folder: &Path) -> Result<Vec<Listed>, String> {
    let mut tests = Vec::new();
    for suite in SUITES {
        let folder = folder.join(suite);
        if !folder.is_dir() {
            continue;
        }
        for path in entries(&folder)? {
            let name = file_stem(&path);
            // A folder per test, but one file per test of `light`.
            let model = match path.is_dir() {
                true => path.join("model.onnx"),
                false if path.extension().is_some_and(|it| it == "onnx") => path,
                false => continue,
            };
            tests.push(Listed {
                suite: suite.to_owned(),
                name,
                model,
            });
        }
    }
    Ok(tests)
}

/// A test in memory.
pub(crate) struct Case {
    pub(crate) file: Vec<u8>,
    /// Inputs that only describe shapes.
    pub(crate) describing: BTreeSet<String>,
    /// Its values are all f32, i32, i64 or bool.
    pub(crate) is_core: bool,
    /// What is run, or why its values cannot be held.
    pub(crate) sets: Result<Vec<Set>, String>,
}

/// Inputs, and the outputs that they must give.
pub(crate) struct Set {
    pub(crate) inputs: Vec<(String, Value)>,
    pub(crate) outputs: Vec<(String, Value)>,
}

impl Case {
    pub(crate) fn read(test: &Listed) -> Result<Self, String> {
        let file = read(&test.model)?;
        let model = ModelProto::decode(&*file)
            .map_err(|error| format!("{}: {error}", test.model.display()))?;
        let graph = model.graph.unwrap_or_default();
        let weights: BTreeSet<_> = graph.initializer.iter().map(|it| &it.name).collect();
        let inputs: Vec<_> = graph
            .input
            .iter()
            .filter(|port| !weights.contains(&port.name))
            .collect();
        let outputs: Vec<_> = graph.output.iter().collect();
        let is_core = inputs.iter().chain(&outputs).all(|port| is_core(port));
        let sets = match test.suite.as_str() {
            "light" => light_set(&test.model, &inputs, &outputs).map(|set| vec![set]),
            _ => read_sets(&test.model, &inputs, &outputs),
        };
        Ok(Self {
            describing: describes::inputs(&graph),
            is_core: is_core
                && graph
                    .initializer
                    .iter()
                    .all(|it| is_core_type(it.data_type)),
            file,
            sets,
        })
    }
}

fn read_sets(
    model: &Path,
    inputs: &[&ValueInfoProto],
    outputs: &[&ValueInfoProto],
) -> Result<Vec<Set>, String> {
    let folder = model.parent().unwrap_or(model);
    let is_set = |path: &PathBuf| path.is_dir();
    let sets: Vec<_> = entries(folder)?.into_iter().filter(is_set).collect();
    let ports = |set: &Path, kind: &str, ports: &[&ValueInfoProto]| {
        let value = |(at, port): (usize, &&ValueInfoProto)| {
            let path = set.join(format!("{kind}_{at}.pb"));
            let value = value_of(&path, port)?;
            Ok::<_, String>((port.name.clone(), value))
        };
        ports
            .iter()
            .enumerate()
            .map(value)
            .collect::<Result<Vec<_>, _>>()
    };
    let set = |path: &PathBuf| {
        Ok(Set {
            inputs: ports(path, "input", inputs)?,
            outputs: ports(path, "output", outputs)?,
        })
    };
    match sets.is_empty() {
        true => Err(format!("{}: no data set", folder.display())),
        false => sets.iter().map(set).collect(),
    }
}

fn value_of(path: &Path, port: &ValueInfoProto) -> Result<Value, String> {
    let value = port.r#type.as_ref().and_then(|it| it.value.as_ref());
    let Some(type_proto::Value::TensorType(_)) = value else {
        return Err(format!("`{}` is no tensor", port.name));
    };
    let tensor = TensorProto::decode(&*read(path)?)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    Value::of(&tensor).map_err(|why| format!("`{}` {why}", port.name))
}

/// The graphs of `light` share one input, which no file holds: i/n at index i.
fn light_set(
    model: &Path,
    inputs: &[&ValueInfoProto],
    outputs: &[&ValueInfoProto],
) -> Result<Set, String> {
    let ([input], [output]) = (inputs, outputs) else {
        return Err("a graph of `light` has one input and one output".to_owned());
    };
    let shape = vec![1, 3, 224, 224];
    let n: usize = shape.iter().product();
    let bytes = (0..n).flat_map(|i| (i as f32 / n as f32).to_le_bytes());
    let image = Value {
        dtype: Dtype::F32,
        bytes: bytes.collect(),
        shape,
    };
    let path = model.with_file_name(format!("{}_output_0.pb", file_stem(model)));
    Ok(Set {
        inputs: vec![(input.name.clone(), image)],
        outputs: vec![(output.name.clone(), value_of(&path, output)?)],
    })
}

fn is_core(port: &ValueInfoProto) -> bool {
    match port.r#type.as_ref().and_then(|it| it.value.as_ref()) {
        Some(type_proto::Value::TensorType(tensor)) => is_core_type(tensor.elem_type),
        _ => false,
    }
}

fn is_core_type(elements: i32) -> bool {
    use tract_onnx::pb::tensor_proto::DataType;
    let core = [
        DataType::Float,
        DataType::Int32,
        DataType::Int64,
        DataType::Bool,
    ];
    core.iter().any(|&dtype| dtype as i32 == elements)
}

fn file_stem(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let entries = fs::read_dir(folder).map_err(failed)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed));
    let mut paths: Vec<_> = paths.collect::<Result<_, _>>()?;
    paths.sort();
    Ok(paths)
}
