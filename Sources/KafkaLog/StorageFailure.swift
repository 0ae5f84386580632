import Glibc
import Synchronization

extension IOError {
    /// What an error tells of the folder that it happened in.
    package enum Meaning: Sendable, Equatable {
        /// The disk is full, or a quota is: it will have room again.
        case full
        /// The device or its file system fails: nothing in the folder can be counted on.
        case folderFailed
        /// The folder may be gone, or unmounted, or no longer writable: it must be tried.
        case folderSuspect
        /// It is about something else, such as too many open files.
        case other
    }

    package var meaning: Meaning {
        switch self.code {
        case ENOSPC, EDQUOT: .full
        case EIO, EROFS, ENODEV, ENXIO, ESTALE, EUCLEAN, ENOTCONN, EREMOTEIO, ETIMEDOUT, ENOMEDIUM: .folderFailed
        case ENOENT, EACCES, EPERM, ENOTDIR, ELOOP, EBADF: .folderSuspect
        default: .other
        }
    }

    /// Whether the folder may not be counted on.
    var isOfFolder: Bool { self.meaning == .folderFailed || self.meaning == .folderSuspect }
}

/// A data folder that has just failed.
package struct FailedFolder: Sendable {
    package var path: String
    package var error: IOError
    /// Those that were in it, offline from now on.
    package var partitions: [TopicPartition]
    /// The broker cannot go on: it was the folder of the metadata, or the last one.
    package var isFatal: Bool
}

/// A call for something in a data folder has failed.
package struct StorageFailure: Sendable {
    package var error: IOError
    /// Of the folder, or of what is in it.
    package var path: String
    /// It was a sync of this log: nothing that was written to its files since the last good one is believed any more, and
    /// it takes no appends until it is opened anew.
    package var endedLog: PartitionLog?
}

extension LogEnvironment {
    /// A read has failed. One bad sector is not the end of a folder: it is tried whether it still takes writes.
    func readFailed(_ error: IOError, _ path: String) {
        guard error.meaning == .folderFailed else { return }
        self.storageFailed(IOError(.open, path, code: ENOENT), path)
    }

    /// A write, a sync or a change of a folder has failed. What it means for the data folder is found out in the
    /// background. To be called without a lock, from any thread.
    /// - Parameter path: of the data folder, or of something in it.
    /// - Parameter log: takes no appends any more.
    package func storageFailed(_ error: IOError, _ path: String, ending log: PartitionLog? = nil) {
        if error.meaning == .full { self.trash.isDiskFull.store(true, ordering: .relaxed) }
        guard error.isOfFolder || log != nil else { return }
        self.events.storageFailed(StorageFailure(error: error, path: path, endedLog: log))
    }
}
