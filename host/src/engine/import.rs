//! What a component imports, told without compiling it: for whoever looks at a package
//! that this host may not be able to load.

use wasmparser::{Parser, Payload};

use super::LoadError;
use super::load::{check_kind, interface_of};

/// Imports that are listed at most; the contract has eight interfaces.
const MAX_IMPORTS: usize = 256;

/// An import of a component.
#[derive(Debug)]
pub struct Import {
    /// Its name as the component has it, such as `trommel:detector/content@0.1.0`. Whoever
    /// built the component chose it.
    pub name: String,
    /// Why this host does not offer it, when it does not.
    pub refused: Option<LoadError>,
}

/// The imports of a component, in its order.
///
/// `CoreModule`, `TypesTooLarge` or `Malformed` when the bytes cannot be read as one.
pub fn imports(wasm: &[u8]) -> Result<Vec<Import>, LoadError> {
    check_kind(wasm)?;
    let malformed = |reason: String| LoadError::Malformed { reason };
    let mut imports = Vec::new();
    // Modules and components inside it have imports of their own.
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(|error| malformed(error.to_string()))? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    let import = import.map_err(|error| malformed(error.to_string()))?;
                    if imports.len() == MAX_IMPORTS {
                        return Err(malformed(format!("more than {MAX_IMPORTS} imports")));
                    }
                    let name = import.name.name.to_owned();
                    imports.push(Import {
                        refused: interface_of(&name).err(),
                        name,
                    });
                }
            }
            _ => {}
        }
    }
    Ok(imports)
}
