/// So that `Result<Value, ErrorCode>` can be said. Protocol errors are values; they are not thrown.
extension ErrorCode: Error {}
