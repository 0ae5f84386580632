import Glibc
import KafkaPrimitives
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

/// Where errors of files are told. Set by who knows all folders.
final class StorageFailures: Sendable {
    private let slot = CallbackSlot<(IOError, String)>()

    func set(_ body: @escaping @Sendable (IOError, String) -> Void) {
        self.slot.set { body($0.0, $0.1) }
    }

    func callAsFunction(_ error: IOError, _ path: String) { self.slot((error, path)) }
}

extension LogEnvironment {
    /// A read has failed. One bad sector is not the end of a folder: it is tried whether it still takes writes.
    func readFailed(_ error: IOError, _ path: String) {
        guard error.meaning == .folderFailed else { return }
        self.storageFailures(IOError(.open, path, code: ENOENT), path)
    }

    /// A write, a sync or a change of a folder has failed. What it means for the data folder is found out in the
    /// background. To be called without a lock, from any thread.
    /// - Parameter path: of the data folder, or of something in it.
    package func storageFailed(_ error: IOError, _ path: String) {
        switch error.meaning {
        case .other: break
        case .full: self.trash.isDiskFull.store(true, ordering: .relaxed)
        case .folderFailed, .folderSuspect: self.storageFailures(error, path)
        }
    }
}
