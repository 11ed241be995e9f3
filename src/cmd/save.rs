//! `rbox save`: write images to an archive, or to a directory in OCI layout.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, IsTerminal, Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use rbox_images::{Format, Store};

use crate::cli::{Global, SaveArgs, SaveForm};
use crate::dirs::Dirs;
use crate::report::Problem;

/// `rbox save`
///
/// Errors: there is no such image, or the archive cannot be written; then no part of it is left.
pub(crate) fn run(global: &Global, args: &SaveArgs) -> Result<ExitCode> {
    let store = Store::open(Dirs::new(global)?.root())?;
    let format = match args.format {
        SaveForm::DockerArchive => Format::Docker,
        SaveForm::OciArchive => Format::Oci,
        SaveForm::OciDir => {
            let missing = || Problem::new("--format oci-dir: it needs -o DIR");
            store.save_layout(&args.images, args.output.as_deref().ok_or_else(missing)?)?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    match &args.output {
        Some(path) => {
            let mut archive = Unfinished::beside(path)?;
            store.save(&args.images, &mut archive.file, format)?;
            archive.finish(path)?;
        }
        None if stdout().is_terminal() => {
            let problem = Problem::new("cannot save images: standard output is a terminal");
            return Err(problem.hint("name the archive with -o FILE, or write > FILE").into());
        }
        None => store.save(&args.images, BufWriter::new(stdout().lock()), format)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// An archive under another name until it is whole; removed if that never comes.
struct Unfinished {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Unfinished {
    fn beside(target: &Path) -> Result<Self> {
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let path = target.with_file_name(name);
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let file = file.with_context(|| format!("cannot write {}", target.display()))?;
        Ok(Self { path, file: BufWriter::new(file) })
    }

    fn finish(mut self, target: &Path) -> Result<()> {
        let doing = || format!("cannot write {}", target.display());
        self.file.flush().with_context(doing)?;
        std::fs::rename(&self.path, target).with_context(doing)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After a rename there is nothing to remove.
        let _ = std::fs::remove_file(&self.path);
    }
}
