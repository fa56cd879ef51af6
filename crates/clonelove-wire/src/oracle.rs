//! Property tests against mysql_common.
