//! Files: one for each version of a view, in Arrow's format, replaced as a whole.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_ipc::reader::FileReader;
use arrow_ipc::writer::FileWriter;
use provender_core::provider::ViewVersion;
use provender_core::{Error, Result, codes};

use crate::rows::{Rows, internal};

/// Where a view's rows lie. Names are spelled in hexadecimal, since they may hold anything.
fn place(folder: &Path, view: &ViewVersion) -> PathBuf {
    let name = serde_json::to_string(view).unwrap_or_default();
    // Names are long; a hash of them is not, and the file says whose it is.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    folder.join(format!("{hash:016x}.arrow"))
}

/// Replaces a view's file by what is held, or removes it if that is nothing.
pub(crate) fn save(folder: &Path, view: &ViewVersion, rows: &Rows) -> Result<()> {
    let path = place(folder, view);
    let Some(batch) = rows.all()? else {
        return remove(folder, view);
    };
    let schema = batch.schema().as_ref().clone();
    let about = serde_json::json!({
        "view": view,
        "n_keys": rows.n_keys(),
        "n_ties": rows.n_ties(),
    });
    let schema = schema.with_metadata([("ledger".to_owned(), about.to_string())].into());
    let temporary = path.with_extension("part");
    let file = File::create(&temporary).map_err(|error| failed(&temporary, error))?;
    let mut writer = FileWriter::try_new(&file, &schema).map_err(internal)?;
    let batch = RecordBatch::try_new(schema.into(), batch.columns().to_vec()).map_err(internal)?;
    writer.write(&batch).map_err(internal)?;
    writer.finish().map_err(internal)?;
    file.sync_all().map_err(|error| failed(&temporary, error))?;
    fs::rename(&temporary, &path).map_err(|error| failed(&path, error))
}

pub(crate) fn remove(folder: &Path, view: &ViewVersion) -> Result<()> {
    let path = place(folder, view);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(&path, error)),
        _ => Ok(()),
    }
}

/// All views of a folder, which is made if it is not there.
pub(crate) fn load(folder: &Path) -> Result<Vec<(ViewVersion, Rows)>> {
    fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    let mut views = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| failed(folder, error))? {
        let path = entry.map_err(|error| failed(folder, error))?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "arrow")
        {
            views.push(load_one(&path)?);
        }
    }
    Ok(views)
}

fn load_one(path: &Path) -> Result<(ViewVersion, Rows)> {
    #[derive(serde::Deserialize)]
    struct About {
        view: ViewVersion,
        n_keys: usize,
        n_ties: usize,
    }
    let damaged = |why: &str| {
        Error::new(
            &codes::ONLINE_DAMAGED,
            format!("the ledger's file {} cannot be read: {why}", path.display()),
        )
    };
    let file = File::open(path).map_err(|error| failed(path, error))?;
    let reader = FileReader::try_new(file, None).map_err(|error| damaged(&error.to_string()))?;
    let schema = reader.schema();
    let about = schema.metadata().get("ledger").map_or("", String::as_str);
    let about: About = serde_json::from_str(about).map_err(|error| damaged(&error.to_string()))?;
    let mut rows = Rows::of(about.n_keys, about.n_ties);
    for batch in reader {
        let batch = batch.map_err(|error| damaged(&error.to_string()))?;
        // Later writes bring batches without the file's own note.
        let schema = schema.as_ref().clone().with_metadata(Default::default());
        let batch = RecordBatch::try_new(schema.into(), batch.columns().to_vec());
        rows.write(&batch.map_err(internal)?)?;
    }
    Ok((about.view, rows))
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    Error::new(
        &codes::IO,
        format!("{} cannot be read or written", path.display()),
    )
    .source(error)
}
