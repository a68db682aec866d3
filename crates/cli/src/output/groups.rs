//! Row groups of a Parquet file, written on a thread of its own while the next ones are encoded.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use parquet::arrow::arrow_writer::ArrowColumnChunk;
use parquet::errors::{ParquetError, Result};
use parquet::file::writer::SerializedFileWriter;

use super::target::Target;

/// Row groups that wait to be written; as many more bytes are held.
const MOST_WAITING: usize = 1;

/// Writes row groups in the order in which they come. Dropped unfinished, it ends without a whole file.
pub(super) struct GroupWriter {
    /// `None` once no more are to come.
    sender: Option<SyncSender<Step>>,
    thread: Option<JoinHandle<Result<()>>>,
}

enum Step {
    Group(Vec<ArrowColumnChunk>),
    Close,
}

impl GroupWriter {
    /// # Errors
    /// If no thread can be started.
    pub(super) fn new(target: Target, file: SerializedFileWriter<Target>) -> Result<Self> {
        let (sender, receiver) = sync_channel(MOST_WAITING);
        let thread = std::thread::Builder::new()
            .name("output".to_owned())
            .spawn(move || write(&target, file, &receiver))?;
        Ok(Self {
            sender: Some(sender),
            thread: Some(thread),
        })
    }

    /// Takes the columns of a row group.
    ///
    /// # Errors
    /// Why an earlier one could not be written.
    pub(super) fn write(&mut self, columns: Vec<ArrowColumnChunk>) -> Result<()> {
        self.take(Step::Group(columns))
    }

    /// Writes what waits, and the end of the file.
    ///
    /// # Errors
    /// Why anything could not be written.
    pub(super) fn close(mut self) -> Result<()> {
        self.take(Step::Close)?;
        self.ended()
    }

    fn take(&mut self, step: Step) -> Result<()> {
        let sent = self.sender.as_ref().map(|sender| sender.send(step));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => self.ended().and(Err(defect())),
        }
    }

    fn ended(&mut self) -> Result<()> {
        self.sender = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            _ => Err(defect()),
        }
    }
}

impl Drop for GroupWriter {
    /// Waits for the thread, which holds the unfinished file.
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn defect() -> ParquetError {
    ParquetError::General("the thread that writes row groups ended early".to_owned())
}

fn write(
    target: &Target,
    mut file: SerializedFileWriter<Target>,
    steps: &Receiver<Step>,
) -> Result<()> {
    for step in steps {
        let columns = match step {
            Step::Close => return file.close().map(|_| ()),
            Step::Group(columns) => columns,
        };
        let mut group = file.next_row_group()?;
        for column in columns {
            column.append_to_row_group(&mut group)?;
        }
        group.close()?;
        // So that little is left to wait for in the end.
        target.sync()?;
    }
    Ok(())
}
