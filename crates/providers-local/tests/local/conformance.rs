//! The rules that every online store keeps.

use std::sync::Arc;

use provender_conformance::online::{Harness, all};
use provender_core::provider::OnlineStore;
use provender_providers_local::LocalOnlineStore;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_rule_of_the_kit_holds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let harness = Harness::open(|| {
        let path = path.clone();
        async move {
            let store = LocalOnlineStore::at(&path, None)?;
            Ok(Arc::new(store) as Arc<dyn OnlineStore>)
        }
    })
    .await
    .unwrap();
    all(&harness).await.unwrap();
}
