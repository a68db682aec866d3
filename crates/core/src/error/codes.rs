//! The catalogue of error codes. A code, once released, keeps its meaning; the list only grows.
//!
//! P1xx definitions, P2xx configuration, P3xx registry, P4xx requests, P5xx offline stores,
//! P6xx online stores, P7xx server, P8xx providers and plugins, P9xx the machine and ourselves.

use super::ErrorKind;

/// One entry of the catalogue.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// The stable code, for example `P104`.
    pub id: &'static str,
    /// The kind that errors of this code have unless overridden.
    pub kind: ErrorKind,
    /// A short name.
    pub title: &'static str,
    /// What it means and what to do, as prose; what `provender explain` prints.
    pub explanation: &'static str,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $id:literal $kind:ident $title:literal $explanation:literal;)*) => {
        $(
            #[doc = $title]
            pub static $name: Code = Code { id: $id, kind: ErrorKind::$kind, title: $title, explanation: $explanation };
        )*
        /// Every code, in order.
        pub static ALL: &[&Code] = &[$(&$name),*];
    };
}

codes! {
    SYNTAX = "P101" InvalidArgument "not valid YAML"
        "The file is not valid YAML (or JSON). The position is where reading stopped; the mistake is there or just before: a missing colon, a tab used for indentation, an unclosed bracket or quote.";
    UNKNOWN_KEY = "P102" InvalidArgument "unknown key"
        "A key is not one that this place knows. The nearest known key is given as a hint. `provender schema definitions` and `provender schema store` print a JSON Schema that editors complete and check against.";
    WRONG_TYPE = "P103" InvalidArgument "wrong type or missing key in a definition"
        "A value is of another type than this place takes (a list where text was expected, text where a number was), or a required key is missing. The message says what was expected.";
    BAD_NAME = "P104" InvalidArgument "bad name"
        "Names of definitions are letters, digits and _, do not start with a digit and do not hold __ (it joins a view and a feature in output columns). A feature cannot be called status or event_timestamp.";
    DUPLICATE_NAME = "P105" InvalidArgument "duplicate or clashing name"
        "Two definitions have the same name, or names that differ only in case. Feature views, on-demand feature views and feature services share one space of names; entities and sources have one each.";
    UNDEFINED_REFERENCE = "P106" InvalidArgument "undefined reference"
        "A definition names another that does not exist. The nearest existing name is given as a hint.";
    CYCLE = "P107" InvalidArgument "cycle"
        "On-demand feature views use each other in a circle, so none of them can be computed first. An on-demand view can use feature views and other on-demand views, but not itself, directly or through others.";
    BAD_DURATION = "P108" InvalidArgument "bad duration"
        "A duration is a positive whole number and a unit: us, ms, s, m, h or d, for example 90s or 3h. A ttl or window of zero or less is an error; leave ttl out for no limit.";
    BAD_TYPE = "P109" InvalidArgument "unknown value type"
        "Types are bool, int8 to int64, uint8 to uint64, float32, float64, decimal(p,s), string, binary, date, timestamp, json, list<T>, struct<name: T, ...>, map<K,V> and embedding<N>. Join keys take whole numbers, string, binary, bool, date and timestamp.";
    BAD_DEFINITION = "P110" InvalidArgument "contradictory definition"
        "Keys of one definition contradict each other, such as ttl together with aggregations, table together with query, or a view that has neither features nor aggregations.";
    BAD_EXPRESSION = "P111" InvalidArgument "bad SQL expression"
        "The SQL of an on-demand feature does not parse, names an unknown input, uses a volatile function or a subquery, or gives a value that does not fit the declared type. It is a DataFusion scalar expression over the inputs' features and the request's fields.";
    MISSING_TABLE = "P120" NotFound "source table not found"
        "A source names a table that the offline store does not have. `provender import TABLE FILE` makes one; a path or URL is taken as itself.";
    MISSING_COLUMN = "P121" InvalidArgument "source column not found"
        "A definition uses a column that its source does not have, or that matches several columns which differ only in case. `column:` maps a feature and `columns:` of the source maps a join key.";
    TYPE_MISMATCH = "P122" InvalidArgument "source column has another type"
        "The source's column cannot be cast to the declared type without a risk of losing values. Declare the type that the column has, or write `cast: checked` to allow the cast where every value fits.";
    BAD_QUERY = "P123" InvalidArgument "source query fails"
        "The SQL of a source (query or filter) cannot be planned by its offline store. The store's own message is the cause.";
    TIMESTAMP_TYPE = "P124" InvalidArgument "not a time column"
        "The column named as timestamp or created_timestamp is neither a timestamp nor a date.";

    NO_PROJECT = "P201" NotFound "no project here"
        "No provender.yaml was found in this folder. `provender init` makes a project; -C DIR names another folder.";
    MISSING_ENV = "P202" InvalidArgument "environment variable not set"
        "The configuration refers to ${NAME}, and NAME is not set. Set it, or give a default as ${NAME:-default}.";
    BAD_CONFIG = "P203" InvalidArgument "bad store configuration"
        "A block of provender.yaml has a missing, unknown or contradictory option. The message names the block and the option.";
    UNKNOWN_PROVIDER = "P204" InvalidArgument "unknown provider type"
        "`type:` names a provider that is neither built in nor loaded as a plugin. The nearest known type is given as a hint.";
    NOT_EMPTY = "P205" FailedPrecondition "folder already holds a project"
        "`provender init` does not overwrite an existing project.";

    REVISION_CONFLICT = "P301" Conflict "the registry changed meanwhile"
        "Somebody applied a change after this plan was made, so nothing of it was applied. The message lists what they changed. Plan again, look, and apply.";
    REGISTRY_TOO_NEW = "P302" FailedPrecondition "the registry was written by a newer version"
        "The registry's format is newer than this program understands; nothing was changed. Update this program.";
    REGISTRY_DAMAGED = "P303" DataLoss "the registry holds something unreadable"
        "An object in the registry cannot be read. Restore the registry from a backup; definitions can be applied again from their files.";
    REGISTRY_UNAVAILABLE = "P304" Unavailable "the registry cannot be reached"
        "The registry's database cannot be opened or reached. Check the path or URL, the network, and that its user may read and write.";
    LEASE_HELD = "P305" Conflict "another run is in progress"
        "Another process holds the lease for this work. It ends when that run ends, or when its lease runs out.";
    NOT_APPLIED = "P306" FailedPrecondition "nothing applied yet"
        "The project has no applied definitions, so there is nothing to serve. Run `provender apply`.";
    DELETES_REFUSED = "P307" FailedPrecondition "deletes were not confirmed"
        "The plan deletes definitions (and their online data), or rows of keys would be erased for good, and nobody said yes. Confirm when asked, or pass --yes.";
    UNKNOWN_REVISION = "P308" NotFound "no such revision"
        "The project has no revision of this number yet. `provender history` lists its revisions.";

    UNKNOWN_VIEW = "P401" NotFound "unknown feature view, feature or service"
        "The request names a view, feature or service that is not applied. The nearest known name is given as a hint; `provender list` shows all.";
    MISSING_SPINE_COLUMN = "P402" InvalidArgument "the spine lacks a column"
        "Every join key of every requested view, the timestamp and the request fields of on-demand features must be columns of the spine. `join_keys:` maps a view's key to another column.";
    SPINE_TYPE = "P403" InvalidArgument "a spine column has another type"
        "A join key column of the spine cannot be cast to the key's declared type without losing values, or the timestamp column is neither a timestamp nor a date.";
    NAME_CLASH = "P404" InvalidArgument "two output columns have one name"
        "Two output columns would have the same name. Use an alias (`as:`), fewer features, full feature names, or rename the spine's column.";
    CREATED_REQUIRED = "P405" InvalidArgument "as_known needs a created timestamp"
        "`as_known` asks which rows were known at the label's time, so every requested view's source must name a created_timestamp.";
    BAD_REQUEST = "P406" InvalidArgument "bad request"
        "The request contradicts itself or a value in it cannot be read. The message names the field.";
    BAD_INPUT_FILE = "P407" InvalidArgument "the input file cannot be read"
        "The file is not readable as the format its name says (.parquet, .csv, .arrow, .jsonl), or its columns do not fit.";
    NO_TIMESTAMP = "P408" InvalidArgument "the spine's timestamp column is not clear"
        "The timestamp is the column named by --timestamp, else event_timestamp, else the spine's only timestamp column. Name one.";
    BAD_ROW = "P409" InvalidArgument "a row cannot be taken"
        "A row to push, or a key to delete, has a null in a join key or in the event time, or a value that its declared type cannot hold. Rows are looked at before anything is written, so nothing was. The message names view, column and row, counted from 0.";
    UNKNOWN_DATASET = "P420" NotFound "no such dataset"
        "The project has no dataset of this name or version. `provender dataset list` shows all.";
    DATASET_EXISTS = "P421" FailedPrecondition "the dataset exists"
        "A dataset is never changed once it is made, so its name cannot be used again. `provender dataset create --new-version` makes the next version beside it; NAME@VERSION names one.";

    CHECKED_CAST = "P501" InvalidArgument "a value does not fit the declared type"
        "A `cast: checked` feature met a value that its declared type cannot hold. Widen the declared type or mend the data. The message names view, feature and key.";
    SUM_OVERFLOW = "P502" InvalidArgument "a sum overflows"
        "The sum of a window over whole numbers does not fit 64 bits, or one over decimals does not fit decimal(38,s).";
    OFFLINE_UNAVAILABLE = "P503" Unavailable "the offline store cannot be reached"
        "The offline store did not answer. The cause says why; the call can be retried.";
    OFFLINE_DATA = "P504" DataLoss "the offline store's data cannot be read"
        "A file or a table of the offline store is missing or damaged. The cause names it.";
    TABLE_EXISTS = "P505" FailedPrecondition "the table has another schema"
        "Rows were to be appended to a table whose columns differ. The message names the columns.";
    VERSION_GONE = "P506" NotFound "the source version is gone"
        "The table no longer has the requested version; its files were vacuumed or its log was cleaned.";
    OFFLINE_REQUEST = "P507" InvalidArgument "the offline store refuses the request"
        "The offline store understood the request and refuses it. The cause says why.";
    EXPRESSION_FAILED = "P508" InvalidArgument "an on-demand expression fails"
        "The SQL of an on-demand feature has no value for a row: it divides by zero, overflows, or converts text that is no number. The message names view, feature and row. Guard the expression (CASE, nullif, TRY_CAST) or mend the input.";
    SOURCE_READ_ONLY = "P509" FailedPrecondition "the view's source takes no rows"
        "Rows can be pushed to, and keys deleted from, the newest state of a table. The view's source is a query, or a table pinned to a past version, or has columns that the view cannot fill. Write to the tables behind it with the store's own tools, or use the online part alone.";
    STORAGE_CREDENTIALS = "P513" Unauthenticated "the storage does not take the credentials"
        "The object storage behind the offline store does not know the credentials, or they have run out. Check the `storage:` options of the block and the variables that they name; without credentials there, those of the environment and of the machine's own identity are used.";
    STORAGE_DENIED = "P514" PermissionDenied "the storage refuses access"
        "The object storage behind the offline store knows the credentials, and they do not allow this. The documentation of `type: delta` lists the permissions that reading, writing and vacuuming need.";
    RETENTION_TOO_SHORT = "P515" FailedPrecondition "files would be removed too early"
        "Vacuum was asked to remove files that readers, writers or reads of a past version may still need: the time to keep is shorter than the table's own (7 days unless its delta.deletedFileRetentionDuration says otherwise). Keep more, or pass --force when nobody uses the table and its past versions.";
    DATASET_DIFFERS = "P520" DataLoss "the rows are not those of the dataset"
        "The dataset was built again from its recorded definitions and sources, and other rows came out than were recorded, so nothing was written. The message names the columns that differ and sources that could not be pinned. `docs/datasets.md` lists what can be the cause.";
    WAREHOUSE_LOGIN = "P530" Unauthenticated "the warehouse does not let the user in"
        "The data warehouse behind the offline store refuses the login: the user, password, key or token is wrong, has run out, or may not be used from this network. The message carries the warehouse's own code; the documentation of the provider says what each means.";
    WAREHOUSE_DENIED = "P531" PermissionDenied "the warehouse refuses access"
        "The data warehouse behind the offline store knows the user, and the session's role may not do this. The documentation of the provider has a script for a role with the least privileges.";
    WAREHOUSE_SESSION_LOST = "P532" Unavailable "the warehouse session has ended"
        "A session of the data warehouse ended while work depended on it, because it was idle or was ended by somebody. Nothing of an unfinished write is visible. Try again.";

    NOT_ONLINE = "P601" FailedPrecondition "the view is not online"
        "The view has `online: false`, so it is never materialised and cannot be read online.";
    ONLINE_UNAVAILABLE = "P602" Unavailable "the online store cannot be reached"
        "The online store did not answer. The cause says why; the call can be retried.";
    ONLINE_DATA = "P603" DataLoss "a stored online row cannot be read"
        "The bytes of a row are damaged or were written by another program. Materialise the view again; with status, other rows are still answered.";
    ONLINE_DAMAGED = "P604" DataLoss "the online store's files are damaged"
        "A file of the online store is cut short, was overwritten, or is missing. Nothing was changed. Restore the named file from a backup; or remove the named folder and run `provender materialize` again, which builds online rows from the offline store.";
    ONLINE_FORMAT = "P605" FailedPrecondition "the online store has another format"
        "The online store's files were written by another version of this program, in a format that this one does not read; nothing was changed. Update this program, or remove the named folder and materialise again.";
    ONLINE_FULL = "P606" ResourceExhausted "the online store reached its size limit"
        "A view's rows would take more than the store may grow to (the option map_size of `type: local`). What was written before is unharmed. Raise the option, or drop what is not needed.";
    WINDOWS_NOT_PUSHED = "P607" FailedPrecondition "windows are not pushed online"
        "The online values of aggregations are windows over all rows of a key, which one pushed row does not tell. Push the rows to the offline store and materialise the view.";
    ROW_TOO_LARGE = "P608" ResourceExhausted "a row is too large for online stores"
        "The values of one online row take more than 4 GiB, its tie breakers more than 65,535 bytes, or one answer holds more than 2 GiB of one feature. Keep large values elsewhere and a reference in the feature, break ties by a number, or ask for fewer keys at a time.";
    ONLINE_CREDENTIALS = "P609" Unauthenticated "the online store does not take the login"
        "The online store's server does not know the user, or the password is wrong or missing. Check the options username and password of the online store's block, and the variables that they name.";
    ONLINE_DENIED = "P610" PermissionDenied "the online store refuses access"
        "The online store's server knows the user, who may not use a command or a key that is needed. The documentation of the store's type lists them.";
    ONLINE_MEMORY = "P611" ResourceExhausted "the online store's memory is full"
        "The online store's server has no memory left and takes no more rows. What was written before is unharmed. Raise its limit, drop what is not needed, or give views a ttl; then write all again, which is right.";
    ONLINE_LOST = "P612" DataLoss "the online store lost rows that it had acknowledged"
        "The online store's server lost rows after it had acknowledged them: it was emptied, was started again without its data, or another server without them took over. What is left is not whole. `provender materialize-incremental` fills the view again from the beginning. Rows that were pushed and are not in the offline store have to be pushed again.";

    CALL_LIMIT = "P701" ResourceExhausted "too many calls or bytes in flight"
        "The server works on as many calls, or holds as many bytes, as its limits allow, and takes no more at once. Try again a little later, or raise server.max_calls or server.max_bytes.";
    BAD_MESSAGE = "P702" InvalidArgument "not an Arrow message"
        "A message of the client is no Arrow IPC message that can be read: its header or a length in it is wrong, it comes out of order, or its types are not supported.";
    MESSAGE_TOO_LARGE = "P703" ResourceExhausted "a message is too large"
        "One message, or one row of an answer, has more bytes than a message may have. Send smaller batches, or raise server.max_message_bytes and the client's own limit.";
    UNKNOWN_HANDLE = "P704" NotFound "unknown spine handle"
        "The handle names no spine that was put on this server, or one that was used or has run out. Put the spine again.";
    NOT_AUTHENTICATED = "P705" Unauthenticated "no valid token"
        "The server asks for a bearer token and the call brought none, or one that it does not know.";
    NOT_ALLOWED = "P706" PermissionDenied "the token does not allow this"
        "The token may read but not write, or write but not administer. The message says what the call needs.";
    SERVER_ADDRESS = "P707" Unavailable "the server cannot listen there"
        "The address of server.flight or server.metrics cannot be listened on: something else does, or it is not an address of this machine.";
    SERVER_STOPPING = "P708" Unavailable "the server is stopping"
        "The server was asked to stop and takes no more on this stream; whatever it has acknowledged is done. Open the stream again, on another server if there is one.";

    UNSUPPORTED = "P801" Unsupported "the provider does not offer this"
        "The configured provider does not have the capability that this request needs.";
    PROVIDER_CONTRACT = "P802" Internal "a provider broke its contract"
        "A provider answered with another schema, row count or order than it was asked for. This is a defect of the provider; report it to its vendor.";
    PLUGIN_PANICKED = "P803" Internal "a plug-in panicked"
        "Code of a plug-in failed in a way that it did not handle. The plug-in is not called any more until the program is started again, since its state cannot be trusted; other providers go on. Report it to its vendor with the message.";
    PLUGIN_REFUSED = "P804" FailedPrecondition "a plug-in cannot be loaded"
        "The file is not a shared library, lacks the symbol provender_plugin_init, was built for another version of the plug-in interface, may be written by other users, or does not have the sha256 that provender.yaml pins. The message says which. `provender plugin check FILE` tells more.";
    PLUGIN_BUSY = "P805" ResourceExhausted "a plug-in does not come back from its calls"
        "So many calls are inside of the plug-in's library that no more are made; other providers go on. Its store may hang, or be slower than what is asked of it. Look at the store, and start the program again if it stays so.";

    NO_SPACE = "P901" ResourceExhausted "no space left"
        "A file could not be written because the disk, or the process's file size limit, is full. What was written before is unharmed. Free space, or point the path elsewhere.";
    NOT_WRITABLE = "P902" PermissionDenied "cannot write there"
        "A file or folder cannot be made or written: its path does not exist, is not a folder, or this user may not write to it.";
    IO = "P903" Unavailable "reading or writing failed"
        "The operating system refused to read or write a file. The cause says why.";
    MEMORY_LIMIT = "P904" ResourceExhausted "memory limit reached"
        "The work does not fit the configured memory limit even after spilling to disk. Raise `limits.memory` in provender.yaml or ask for less at a time.";
    DEADLINE = "P905" DeadlineExceeded "deadline passed"
        "The call took longer than its caller allows.";
    CANCELLED = "P906" Cancelled "cancelled"
        "The caller went away or cancelled the call.";
    INTERNAL = "P999" Internal "internal error"
        "Something happened that should not be possible. Please report it with the command and the output of -v.";
}

/// The catalogue's entry for a code, whatever its case.
pub fn find(id: &str) -> Option<&'static Code> {
    ALL.iter()
        .copied()
        .find(|code| code.id.eq_ignore_ascii_case(id.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_in_order() {
        for pair in ALL.windows(2) {
            assert!(
                pair[0].id < pair[1].id,
                "{} before {}",
                pair[0].id,
                pair[1].id
            );
        }
        assert_eq!(find("p104"), Some(&BAD_NAME));
    }
}
