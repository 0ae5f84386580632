import Synchronization

/// An open file that is closed when nobody holds it any more: a segment and the answers in flight that are sent from it
/// share one.
package final class LogFile: Sendable {
    package let fd: CInt
    private static let count = Atomic(0)

    /// How many there are.
    static var openCount: Int { Self.count.load(ordering: .relaxed) }

    package init(fd: CInt) {
        self.fd = fd
        Self.count.add(1, ordering: .relaxed)
    }

    deinit {
        FileSystem.close(self.fd)
        Self.count.subtract(1, ordering: .relaxed)
    }
}

/// A run of bytes of a file, whole record batches. What it names stays readable as long as the slice lives, also when
/// the segment is deleted meanwhile.
package struct FileSlice: Sendable {
    package let file: LogFile
    /// Bytes from the file's start.
    package let position: Int64
    /// Bytes; greater than 0.
    package let length: Int

    package init(file: LogFile, position: Int64, length: Int) {
        self.file = file
        self.position = position
        self.length = length
    }
}

package struct TopicPartition: Hashable, Sendable, CustomStringConvertible {
    package var topic: String
    package var partition: Int32

    package init(topic: String, partition: Int32) {
        self.topic = topic
        self.partition = partition
    }

    /// As the folder is called: `orders-0`.
    package var description: String { "\(self.topic)-\(self.partition)" }

    /// From a folder's name. The topic may itself contain dashes.
    package init?(directoryName name: String) {
        let utf8 = name.utf8
        guard let dash = utf8.lastIndex(of: UInt8(ascii: "-")), dash != utf8.startIndex else { return nil }
        let digits = utf8[utf8.index(after: dash)...]
        // As it is written, without a sign and without zeros before it.
        guard let first = digits.first, digits.count == 1 || first != UInt8(ascii: "0") else { return nil }
        var partition: Int32 = 0
        for digit in digits {
            guard UInt8(ascii: "0")...UInt8(ascii: "9") ~= digit else { return nil }
            let (shifted, overflow) = partition.multipliedReportingOverflow(by: 10)
            let (sum, overflowsToo) = shifted.addingReportingOverflow(Int32(digit - UInt8(ascii: "0")))
            guard !overflow, !overflowsToo else { return nil }
            partition = sum
        }
        self.topic = String(name[..<dash])
        self.partition = partition
    }
}
