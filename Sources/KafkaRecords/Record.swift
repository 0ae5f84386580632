/// A record's header: a name and some bytes, or null.
package struct RecordHeader: Sendable, Hashable {
    package var key: String
    package var value: [UInt8]?

    package init(_ key: String, _ value: [UInt8]?) {
        self.key = key
        self.value = value
    }
}

/// A record with its own memory.
package struct Record: Sendable, Hashable {
    package var offset: Int64
    /// In ms since 1970; the batch's append time if that is its timestamp type. -1: none.
    package var timestamp: Int64
    package var key: [UInt8]?
    package var value: [UInt8]?
    package var headers: [RecordHeader]

    package init(
        offset: Int64 = 0, timestamp: Int64 = RecordBatchHeader.noTimestamp, key: [UInt8]?, value: [UInt8]?,
        headers: [RecordHeader] = []
    ) {
        self.offset = offset
        self.timestamp = timestamp
        self.key = key
        self.value = value
        self.headers = headers
    }
}

/// A record as it lies in its batch, or in the scratch if the batch is compressed.
///
/// Its pointers are good as long as the batch's bytes are, and until the scratch is used again.
package struct RecordView {
    package var offset: Int64
    /// As `Record.timestamp`.
    package var timestamp: Int64
    /// The producer's own timestamp, even if the batch has the broker's.
    package var createTimestamp: Int64
    package var key: UnsafeRawBufferPointer?
    package var value: UnsafeRawBufferPointer?
    package var headers: RecordHeaderViews

    /// The same with its own memory. A header name that is not UTF-8 gets replacement characters.
    package func owned() -> Record {
        var headers: [RecordHeader] = []
        for header in self.headers {
            headers.append(RecordHeader(String(decoding: header.key, as: UTF8.self), header.value.map { [UInt8]($0) }))
        }
        return Record(
            offset: self.offset, timestamp: self.timestamp, key: self.key.map { [UInt8]($0) },
            value: self.value.map { [UInt8]($0) }, headers: headers)
    }
}

/// A header as it lies in its record; see `RecordView` for how long.
package struct RecordHeaderView {
    package var key: UnsafeRawBufferPointer
    package var value: UnsafeRawBufferPointer?
}

/// The headers of a record, read as one goes. The bytes have been checked when the record was.
package struct RecordHeaderViews: Sequence, IteratorProtocol {
    package private(set) var remainingCount: Int
    private var cursor: UnsafeRawPointer
    private let end: UnsafeRawPointer

    init(count: Int, cursor: UnsafeRawPointer, end: UnsafeRawPointer) {
        self.remainingCount = count
        self.cursor = cursor
        self.end = end
    }

    package mutating func next() -> RecordHeaderView? {
        guard self.remainingCount > 0 else { return nil }
        self.remainingCount -= 1
        var key: UnsafeRawBufferPointer?
        var value: UnsafeRawBufferPointer?
        guard readBytes(&self.cursor, self.end, &key), readBytes(&self.cursor, self.end, &value), let key else {
            self.remainingCount = 0
            return nil
        }
        return RecordHeaderView(key: key, value: value)
    }
}

/// Bytes with their length before them, as a varint; negative: null, as Java reads it.
@inline(__always)
func readBytes(
    _ cursor: inout UnsafeRawPointer, _ end: UnsafeRawPointer, _ bytes: inout UnsafeRawBufferPointer?
) -> Bool {
    let length = readVarint(&cursor, end)
    if length < 0 {
        bytes = nil
        return length != invalidVarint
    }
    guard length <= end - cursor else { return false }
    bytes = UnsafeRawBufferPointer(start: cursor, count: length)
    cursor += length
    return true
}
