//! Which types a store holds, and as what, found out by writing one.

use std::collections::HashMap;
use std::sync::PoisonError;

use arrow_schema::Field;
use provender_core::request::{SourceRef, WriteMode};
use provender_core::{Context, ErrorKind, ValueType};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::tables::{Rows, fresh_table, int, request, send};
use super::{Harness, works};
use crate::generate::moderate_value;
use crate::oracle::Value;

/// How values of types are held, by the types' texts; `None` are types that are refused.
pub(crate) type Held = HashMap<String, Option<Field>>;

/// Whether a store may refuse to hold something with an error of this kind.
pub(super) fn may_refuse(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::InvalidArgument | ErrorKind::FailedPrecondition | ErrorKind::Unsupported
    )
}

impl Harness {
    /// The column in which the store holds values of a type, or `None` if it does not take them.
    pub(super) async fn held(
        &self,
        cx: &Context,
        value_type: &ValueType,
    ) -> Result<Option<Field>, String> {
        let text = value_type.to_string();
        let known = |held: &Held| held.get(&text).cloned();
        if let Some(known) = known(&self.held.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(known);
        }
        let mut rng = StdRng::seed_from_u64(7);
        let value = moderate_value(&mut rng, value_type);
        let columns = [("n", ValueType::Int64), ("v", value_type.clone())];
        let rows = Rows::new(
            &columns,
            vec![vec![int(1), value], vec![int(2), Value::Null]],
        );
        let (table, store) = (fresh_table(cx), self.handle(0));
        let write = request(&table, WriteMode::Append);
        let held = match send(store, cx, write, &rows.table()?).await {
            Ok(_) => {
                let source = SourceRef::table(&table);
                let schema = works("schema", store.schema(cx, &source).await)?;
                let field = schema.field_with_name("v");
                Some(
                    field
                        .map_err(|_| "column \"v\" is lost".to_owned())?
                        .clone(),
                )
            }
            Err(error) if may_refuse(error.kind()) => None,
            Err(error) => return Err(format!("a write of {value_type} fails: {error:?}")),
        };
        let mut known = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(text, held.clone());
        Ok(held)
    }
}
