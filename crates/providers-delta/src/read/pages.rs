//! Pages of a column, decompressed into memory that is used again: most files are compressed by Snappy, and memory that
//! is new for every page has to be cleared for nothing.

use std::iter::once;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use parquet::arrow::arrow_reader::RowGroups;
use parquet::basic::Compression;
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::Result;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::serialized_reader::SerializedPageReader;

use super::bytes::Parts;
use super::runs::damaged;

/// Some for each column that is read at the same time, by each of some threads.
const MOST_HELD: usize = 32;
/// Times as much memory as a page needs, at most: who looks at values where they lie holds all of it.
const MOST_SPARE: usize = 4;
/// Snappy makes at most 64 bytes of three.
const MOST_RATIO: usize = 22;

/// Memory that pages were decompressed into.
#[derive(Debug, Default)]
pub(super) struct Memory {
    held: Mutex<Vec<Bytes>>,
}

impl Memory {
    /// So many bytes or somewhat more: those of a page that is done with, if there is one.
    fn take(&self, n_bytes: usize) -> BytesMut {
        let fits = n_bytes..=n_bytes.saturating_mul(MOST_SPARE);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        for at in 0..held.len() {
            match std::mem::take(&mut held[at]).try_into_mut() {
                Ok(memory) if fits.contains(&memory.len()) => {
                    held.swap_remove(at);
                    return memory;
                }
                Ok(memory) => held[at] = memory.freeze(),
                Err(in_use) => held[at] = in_use,
            }
        }
        BytesMut::zeroed(n_bytes)
    }

    /// Holds memory for when its page is done with.
    fn hold(&self, memory: &Bytes) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= MOST_HELD {
            held.remove(0);
        }
        held.push(memory.clone());
    }
}

/// Reads the pages of a column of a row group.
pub(super) fn of_column(
    memory: &Arc<Memory>,
    parts: &Arc<Parts>,
    column: &ColumnChunkMetaData,
    n_rows: usize,
    locations: Option<&[PageLocation]>,
) -> Result<Box<dyn PageReader>> {
    let locations = locations.map(<[PageLocation]>::to_vec);
    if column.compression() != Compression::SNAPPY {
        let pages = SerializedPageReader::new(parts.clone(), column, n_rows, locations)?;
        return Ok(Box::new(pages));
    }
    // So that pages are answered as they lie there.
    let column = column.clone().into_builder();
    let column = column.set_compression(Compression::UNCOMPRESSED).build()?;
    Ok(Box::new(SnappyPages {
        pages: SerializedPageReader::new(parts.clone(), &column, n_rows, locations)?,
        snappy: Snappy {
            decoder: snap::raw::Decoder::new(),
            memory: memory.clone(),
        },
    }))
}

/// A row group of which whole columns are read.
pub(super) struct GroupPages<'a> {
    pub(super) metadata: &'a ParquetMetaData,
    pub(super) group: usize,
    pub(super) parts: Arc<Parts>,
    pub(super) memory: Arc<Memory>,
}

impl GroupPages<'_> {
    fn row_group(&self) -> &RowGroupMetaData {
        self.metadata.row_group(self.group)
    }
}

/// Where the pages of a row group's column lie, if the file says it.
pub(super) fn locations(
    metadata: &ParquetMetaData,
    group: usize,
    leaf: usize,
) -> Option<&[PageLocation]> {
    let index = metadata.offset_index()?;
    let pages = index.get(group)?.get(leaf)?.page_locations();
    (!pages.is_empty()).then_some(pages)
}

impl RowGroups for GroupPages<'_> {
    fn num_rows(&self) -> usize {
        usize::try_from(self.row_group().num_rows()).unwrap_or_default()
    }

    fn column_chunks(&self, leaf: usize) -> Result<Box<dyn PageIterator>> {
        let column = self.row_group().column(leaf);
        let locations = locations(self.metadata, self.group, leaf);
        let pages = of_column(
            &self.memory,
            &self.parts,
            column,
            self.num_rows(),
            locations,
        )?;
        Ok(Box::new(OneColumn(Some(pages))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(once(self.row_group()))
    }

    fn metadata(&self) -> &ParquetMetaData {
        self.metadata
    }
}

/// The pages of a column of the only row group.
struct OneColumn(Option<Box<dyn PageReader>>);

impl Iterator for OneColumn {
    type Item = Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(Ok)
    }
}

impl PageIterator for OneColumn {}

/// Decompresses pages.
struct SnappyPages {
    /// Compressed.
    pages: SerializedPageReader<Parts>,
    snappy: Snappy,
}

struct Snappy {
    decoder: snap::raw::Decoder,
    memory: Arc<Memory>,
}

impl Snappy {
    fn page(&mut self, mut page: Page) -> Result<Page> {
        let (bytes, n_plain) = match &mut page {
            Page::DataPage { buf, .. } | Page::DictionaryPage { buf, .. } => (buf, 0),
            Page::DataPageV2 {
                buf,
                def_levels_byte_len,
                rep_levels_byte_len,
                is_compressed: true,
                ..
            } => (
                buf,
                *def_levels_byte_len as usize + *rep_levels_byte_len as usize,
            ),
            Page::DataPageV2 { .. } => return Ok(page),
        };
        *bytes = self.decompress(bytes, n_plain)?;
        Ok(page)
    }

    /// What a page holds, of which the first bytes are not compressed.
    fn decompress(&mut self, page: &Bytes, n_plain: usize) -> Result<Bytes> {
        let (plain, compressed) = page.split_at_checked(n_plain).ok_or_else(damaged)?;
        let n_bytes = match compressed {
            // There is no value.
            [] => 0,
            _ => snap::raw::decompress_len(compressed).map_err(|_| damaged())?,
        };
        if n_bytes > compressed.len().saturating_mul(MOST_RATIO) {
            return Err(damaged());
        }
        let n_all = n_plain + n_bytes;
        let mut memory = self.memory.take(n_all);
        memory[..n_plain].copy_from_slice(plain);
        if n_bytes > 0 {
            let n_done = self
                .decoder
                .decompress(compressed, &mut memory[n_plain..n_all]);
            if n_done.map_err(|_| damaged())? != n_bytes {
                return Err(damaged());
            }
        }
        let memory = memory.freeze();
        self.memory.hold(&memory);
        Ok(memory.slice(..n_all))
    }
}

impl Iterator for SnappyPages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for SnappyPages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.pages.get_next_page()?;
        page.map(|page| self.snappy.page(page)).transpose()
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.pages.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.pages.at_record_boundary()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn snappy() -> Snappy {
        Snappy {
            decoder: snap::raw::Decoder::new(),
            memory: Arc::default(),
        }
    }

    fn compressed(bytes: &[u8]) -> Vec<u8> {
        snap::raw::Encoder::new().compress_vec(bytes).unwrap()
    }

    #[test]
    fn memory_is_used_again_when_its_page_is_done_with() {
        let mut snappy = snappy();
        let page = |byte: u8, n: usize| Bytes::from(compressed(&vec![byte; n]));
        let first = snappy.decompress(&page(1, 1_000), 0).unwrap();
        let second = snappy.decompress(&page(2, 1_000), 0).unwrap();
        let place = first.as_ptr();
        drop(first);
        // Shorter ones fit, longer ones do not, and what is in use is left alone.
        let third = snappy.decompress(&page(3, 900), 0).unwrap();
        assert_eq!(third.as_ptr(), place);
        let fourth = snappy.decompress(&page(4, 2_000), 0).unwrap();
        for (page, byte, n) in [(second, 2, 1_000), (third, 3, 900), (fourth, 4, 2_000)] {
            assert_eq!(page, vec![byte; n]);
        }
        for n in 0..100 {
            snappy.decompress(&page(n, 10 * usize::from(n)), 0).unwrap();
        }
        assert!(snappy.memory.held.lock().unwrap().len() <= MOST_HELD);
    }

    #[test]
    fn levels_in_front_are_left_as_they_are() {
        let plain = Bytes::from([&b"levels"[..], &compressed(b"values")].concat());
        assert_eq!(
            snappy().decompress(&plain, 6).unwrap(),
            &b"levelsvalues"[..]
        );
        let levels_alone = Bytes::from_static(b"levels");
        assert_eq!(snappy().decompress(&levels_alone, 6).unwrap(), levels_alone);
        assert!(snappy().decompress(&levels_alone, 7).is_err());
    }

    #[test]
    fn damaged_bytes_are_errors_or_other_values() {
        let mut random = StdRng::seed_from_u64(0);
        let whole = compressed(
            &(0..3_000_u32)
                .flat_map(u32::to_le_bytes)
                .collect::<Vec<_>>(),
        );
        let (mut n_errors, mut snappy) = (0, snappy());
        for _ in 0..5_000 {
            let mut bytes = whole.clone();
            let at = random.random_range(0..bytes.len());
            match random.random_bool(0.2) {
                true => bytes.truncate(at),
                false => bytes[at] ^= 1 << random.random_range(0..8),
            }
            n_errors += usize::from(snappy.decompress(&bytes.into(), 0).is_err());
        }
        assert!(n_errors > 500, "{n_errors}");
        // More than so few bytes can stand for is not even asked for.
        let endless = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0]);
        assert!(snappy.decompress(&endless, 0).is_err());
    }
}
