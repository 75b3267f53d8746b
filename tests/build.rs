//! Builds the guests that tests and benches run; `guests` in the harness
//! includes them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use trommel_guest_builder::{Artifact, build, rerun_if_changed, shared_target_dir};

fn main() {
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let manifest_dir = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let workspace = manifest_dir
        .parent()
        .expect("the tests stand in their workspace");
    rerun_if_changed(workspace, &["guest-models/misbehaving"]);
    let guests = guests(&workspace.join("guest-models/misbehaving/guests"));
    let names: Vec<&str> = guests.iter().map(String::as_str).collect();
    let target_dir = shared_target_dir(&out_dir);
    let files = build(
        workspace,
        &target_dir,
        "misbehaving",
        Artifact::Examples(&names),
    );
    let files = files.unwrap_or_else(|error| panic!("{error}"));
    let mut table = String::from("&[\n");
    for (name, file) in names.iter().zip(files) {
        let to = out_dir.join(format!("{name}.wasm"));
        fs::copy(&file, &to).expect("the component was just built");
        table.push_str(&format!("    ({name:?}, include_bytes!({to:?})),\n"));
    }
    table.push(']');
    fs::write(out_dir.join("guests.rs"), table).expect("OUT_DIR can be written");
}

/// Every guest by the name of its file, in the spelling of a plugin's name.
fn guests(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).expect("the guests' folder is there");
    let name = |file: fs::DirEntry| {
        file.path()
            .file_stem()
            .map(|stem| stem.to_string_lossy().replace('_', "-"))
    };
    let mut names: Vec<String> = files.filter_map(|file| name(file.ok()?)).collect();
    names.sort();
    names
}
