//! Entities: at least one join key, each with its own name and a type that keys can have.

use provender_core::model::{Entity, JoinKey};
use provender_core::names::check_name;
use provender_core::provider::ObjectKind;
use provender_core::{Error, codes};

use super::names::UniqueNames;
use super::values::documentation;
use super::{Found, Lowering, Subject};
use crate::located::Attempt;
use crate::schema::key_types;
use crate::spec::{EntitySpec, JoinKeySpec};

impl Lowering {
    pub(super) fn entity(&mut self, found: &Found<EntitySpec>) {
        let spec = &found.spec;
        let subject = Subject::new(ObjectKind::Entity, &spec.name.value);
        if self.definitions.entities.contains_key(&subject.name) {
            return;
        }
        self.locations
            .add_object(subject.kind, &subject.name, &found.at);
        let lowered = self.attempt(&subject, |this| {
            if spec.join_keys.is_empty() {
                this.contradiction(
                    &subject,
                    &found.at,
                    format!("{subject} has no join keys"),
                    "name at least one; a view of one global row needs no entity",
                );
            }
            let mut taken = UniqueNames::default();
            let mut join_keys = Vec::with_capacity(spec.join_keys.len());
            for key in spec.join_keys.iter().filter_map(Attempt::get) {
                if let Some(key) = this.join_key(&subject, key, &mut taken) {
                    join_keys.push(key);
                }
            }
            Some(Entity {
                name: subject.name.clone(),
                join_keys,
                documentation: documentation(
                    spec.description.as_ref(),
                    spec.owner.as_ref(),
                    spec.tags.as_ref(),
                ),
            })
        });
        if let Some(entity) = lowered {
            self.definitions.entities.insert(subject.name, entity);
        }
    }

    fn join_key(
        &mut self,
        subject: &Subject,
        spec: &JoinKeySpec,
        taken: &mut UniqueNames,
    ) -> Option<JoinKey> {
        let name = &spec.name;
        if let Err(error) = check_name("a join key", &name.value) {
            self.fault(subject, &name.at, error);
        }
        self.part_is_new(subject, "join key", name, taken);
        self.locations
            .add_field(subject.kind, &subject.name, &name.value, &name.at);
        let of = format!("join key {:?}", name.value);
        let value_type = self.value_type(subject, &of, &spec.value_type)?;
        if !value_type.is_key_type() {
            let error = Error::new(
                &codes::BAD_TYPE,
                format!("{of} of {subject} cannot be of type {value_type}"),
            )
            .help(format!("join keys are {}", key_types().join(", ")));
            self.fault(subject, &spec.value_type.at, error);
            return None;
        }
        Some(JoinKey {
            name: name.value.clone(),
            value_type,
        })
    }
}
