//! The layout of a view's rows: where each feature's slot lies.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::DataType;
use provender_core::request::ViewLayout;
use provender_core::{Error, Result, ValueType, codes};

use crate::decode::RowDecoder;
use crate::encode::RowEncoder;
use crate::fingerprint::fingerprint;
use crate::key::KeyFormat;
use crate::shape::{bitmap_len, check, fixed_width};

/// How rows of one version of a view are packed. Cheap to clone; many threads may share one.
#[derive(Clone, Debug)]
pub struct RowFormat {
    layout: Arc<RowLayout>,
}

/// Everything about a view's rows that is the same for all of them.
#[derive(Debug)]
pub(crate) struct RowLayout {
    pub(crate) view: String,
    pub(crate) keys: KeyFormat,
    pub(crate) n_keys: usize,
    pub(crate) tie_breakers: Vec<ValueType>,
    pub(crate) features: Vec<Slot>,
    pub(crate) fingerprint: u32,
    /// Bytes of the null bitmap and the fixed part together: where the heap starts in the payload.
    pub(crate) head_len: usize,
    /// The last byte of the null bitmap, and its bits for which there is no feature.
    pub(crate) spare_bits: (usize, u8),
    /// The slot that says where the heap ends, if any feature lies there.
    pub(crate) last_end_at: Option<usize>,
}

/// Where a feature lies. Offsets count from the start of the null bitmap.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) name: String,
    pub(crate) value_type: ValueType,
    pub(crate) data_type: DataType,
    /// The feature's number, which is its bit in the null bitmap.
    pub(crate) index: usize,
    pub(crate) at: usize,
    /// The slot's width; `None` for one that holds where the value ends in the heap.
    pub(crate) width: Option<usize>,
    /// The slot that says where the value starts in the heap; `None` for the heap's start.
    pub(crate) start_at: Option<usize>,
}

impl RowFormat {
    /// The format of a layout's rows. Tie breakers matter to [`Self::encoder`] alone.
    ///
    /// # Errors
    /// `InvalidArgument` (`P109`) for a type that rows or keys cannot hold.
    pub fn new(layout: &ViewLayout) -> Result<Self> {
        let mut at = bitmap_len(layout.features.len());
        let mut last_end_at = None;
        let mut features = Vec::with_capacity(layout.features.len());
        for (index, (name, value_type)) in layout.features.iter().enumerate() {
            check(
                value_type,
                &format!("feature {name:?} of view {:?}", layout.view),
            )?;
            let width = fixed_width(value_type);
            features.push(Slot {
                name: name.clone(),
                value_type: value_type.clone(),
                data_type: value_type.to_arrow(),
                index,
                at,
                width,
                start_at: last_end_at,
            });
            if width.is_none() {
                last_end_at = Some(at);
            }
            at += width.unwrap_or(4);
        }
        for (index, value_type) in layout.tie_breakers.iter().enumerate() {
            check(
                value_type,
                &format!("tie breaker {index} of view {:?}", layout.view),
            )?;
        }
        let keys = KeyFormat::new(&layout.join_keys)
            .map_err(|error| error.prefixed(format_args!("view {:?}: ", layout.view)))?;
        Ok(Self {
            layout: Arc::new(RowLayout {
                view: layout.view.clone(),
                keys,
                n_keys: layout.join_keys.len(),
                tie_breakers: layout.tie_breakers.clone(),
                fingerprint: fingerprint(&layout.features),
                spare_bits: spare_bits(features.len()),
                features,
                head_len: at,
                last_end_at,
            }),
        })
    }

    /// The number that marks rows of this schema: it depends on the names, types and order of the
    /// features, and on nothing else.
    pub fn fingerprint(&self) -> u32 {
        self.layout.fingerprint
    }

    /// Binds a batch of [`ViewLayout::write_schema`], by position, whose rows are to be packed.
    ///
    /// # Errors
    /// `InvalidArgument` (`P406`) for other columns, and for a null in a join key or in the event
    /// time.
    pub fn encoder<'a>(&self, batch: &'a RecordBatch) -> Result<RowEncoder<'a>> {
        RowEncoder::bind(self.layout.clone(), batch)
    }

    /// Prepares the reading of some features, given as indices into [`ViewLayout::features`], in
    /// the order in which they are wanted.
    ///
    /// # Errors
    /// `InvalidArgument` (`P406`) for an index beyond the features.
    pub fn decoder(&self, features: &[usize]) -> Result<RowDecoder> {
        let slots = features
            .iter()
            .map(|index| {
                self.layout.features.get(*index).cloned().ok_or_else(|| {
                    Error::new(
                        &codes::BAD_REQUEST,
                        format!(
                            "feature number {index} was asked of view {:?}, which has {}",
                            self.layout.view,
                            self.layout.features.len()
                        ),
                    )
                })
            })
            .collect::<Result<_>>()?;
        Ok(RowDecoder::new(self.layout.clone(), slots))
    }
}

fn spare_bits(n_features: usize) -> (usize, u8) {
    match n_features % 8 {
        0 => (0, 0),
        used => (n_features / 8, !0 << used),
    }
}
