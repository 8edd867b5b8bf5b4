//! disbursement-api
