//! The same rules on a real account, where `PROVENDER_TEST_SNOWFLAKE_*` names one; see docs.md.

use crate::support::Account;
use crate::{properties, writing};

#[tokio::test]
async fn a_real_account_keeps_the_same_rules() {
    let Some(account) = Account::real() else {
        return;
    };
    writing::values(&account).await;
    writing::two_writers(&account).await;
    writing::overwriting(&account).await;
    writing::misfits(&account).await;
    writing::deleting(&account).await;
    properties::joins(&account, 50).await;
    properties::latest_rows(&account, 20).await;
    properties::windows(&account, 20).await;
}
