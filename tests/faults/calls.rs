//! The system calls that touch files, processes and the network, by number.
//!
//! Memory, clocks, waiting and random bits are left out: a process that dies there has changed
//! nothing since the call before.

use nix::libc;

/// Whether the numbers and registers of this machine are known.
pub const KNOWN: bool = cfg!(all(target_os = "linux", target_arch = "x86_64"));

/// Numbers and names.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub const CALLS: &[(i64, &str)] = &[
    (libc::SYS_read, "read"),
    (libc::SYS_write, "write"),
    (libc::SYS_open, "open"),
    (libc::SYS_close, "close"),
    (libc::SYS_stat, "stat"),
    (libc::SYS_fstat, "fstat"),
    (libc::SYS_lstat, "lstat"),
    (libc::SYS_newfstatat, "newfstatat"),
    (libc::SYS_statx, "statx"),
    (libc::SYS_lseek, "lseek"),
    (libc::SYS_pread64, "pread64"),
    (libc::SYS_pwrite64, "pwrite64"),
    (libc::SYS_readv, "readv"),
    (libc::SYS_writev, "writev"),
    (libc::SYS_copy_file_range, "copy_file_range"),
    (libc::SYS_sendfile, "sendfile"),
    (libc::SYS_access, "access"),
    (libc::SYS_faccessat, "faccessat"),
    (libc::SYS_faccessat2, "faccessat2"),
    (libc::SYS_pipe2, "pipe2"),
    (libc::SYS_dup, "dup"),
    (libc::SYS_dup2, "dup2"),
    (libc::SYS_dup3, "dup3"),
    (libc::SYS_fcntl, "fcntl"),
    (libc::SYS_flock, "flock"),
    (libc::SYS_fsync, "fsync"),
    (libc::SYS_fdatasync, "fdatasync"),
    (libc::SYS_fallocate, "fallocate"),
    (libc::SYS_truncate, "truncate"),
    (libc::SYS_ftruncate, "ftruncate"),
    (libc::SYS_getdents64, "getdents64"),
    (libc::SYS_rename, "rename"),
    (libc::SYS_renameat, "renameat"),
    (libc::SYS_renameat2, "renameat2"),
    (libc::SYS_mkdir, "mkdir"),
    (libc::SYS_mkdirat, "mkdirat"),
    (libc::SYS_rmdir, "rmdir"),
    (libc::SYS_link, "link"),
    (libc::SYS_linkat, "linkat"),
    (libc::SYS_symlink, "symlink"),
    (libc::SYS_unlink, "unlink"),
    (libc::SYS_unlinkat, "unlinkat"),
    (libc::SYS_readlink, "readlink"),
    (libc::SYS_readlinkat, "readlinkat"),
    (libc::SYS_chmod, "chmod"),
    (libc::SYS_fchmod, "fchmod"),
    (libc::SYS_fchmodat, "fchmodat"),
    (libc::SYS_chown, "chown"),
    (libc::SYS_fchown, "fchown"),
    (libc::SYS_fchownat, "fchownat"),
    (libc::SYS_flistxattr, "flistxattr"),
    (libc::SYS_fgetxattr, "fgetxattr"),
    (libc::SYS_fsetxattr, "fsetxattr"),
    (libc::SYS_fremovexattr, "fremovexattr"),
    (libc::SYS_utimensat, "utimensat"),
    (libc::SYS_umask, "umask"),
    (libc::SYS_chdir, "chdir"),
    (libc::SYS_openat, "openat"),
    (libc::SYS_openat2, "openat2"),
    (libc::SYS_socket, "socket"),
    (libc::SYS_socketpair, "socketpair"),
    (libc::SYS_connect, "connect"),
    (libc::SYS_accept4, "accept4"),
    (libc::SYS_sendto, "sendto"),
    (libc::SYS_recvfrom, "recvfrom"),
    (libc::SYS_sendmsg, "sendmsg"),
    (libc::SYS_recvmsg, "recvmsg"),
    (libc::SYS_shutdown, "shutdown"),
    (libc::SYS_epoll_ctl, "epoll_ctl"),
    (libc::SYS_clone, "clone"),
    (libc::SYS_clone3, "clone3"),
    (libc::SYS_fork, "fork"),
    (libc::SYS_vfork, "vfork"),
    (libc::SYS_execve, "execve"),
    (libc::SYS_exit_group, "exit_group"),
    (libc::SYS_wait4, "wait4"),
    (libc::SYS_waitid, "waitid"),
    (libc::SYS_kill, "kill"),
    (libc::SYS_tgkill, "tgkill"),
    (libc::SYS_setsid, "setsid"),
    (libc::SYS_setpgid, "setpgid"),
    (libc::SYS_prctl, "prctl"),
    (libc::SYS_close_range, "close_range"),
    (libc::SYS_pidfd_open, "pidfd_open"),
    (libc::SYS_pidfd_send_signal, "pidfd_send_signal"),
    (libc::SYS_inotify_init1, "inotify_init1"),
];

/// Nothing is known of other machines; there the crash points are left out, and the table says so.
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub const CALLS: &[(i64, &str)] = &[];

/// The name of a call that counts.
pub fn name(number: i64) -> Option<&'static str> {
    let call = CALLS.iter().find(|(known, _)| *known == number)?;
    Some(call.1)
}

/// The errors that the kernel may give for a call when something runs out or breaks.
pub fn errors(name: &str) -> &'static [(&'static str, i32)] {
    const MFILE: (&str, i32) = ("EMFILE", libc::EMFILE);
    const NFILE: (&str, i32) = ("ENFILE", libc::ENFILE);
    const NOMEM: (&str, i32) = ("ENOMEM", libc::ENOMEM);
    const IO: (&str, i32) = ("EIO", libc::EIO);
    const NOSPC: (&str, i32) = ("ENOSPC", libc::ENOSPC);
    const DQUOT: (&str, i32) = ("EDQUOT", libc::EDQUOT);
    const ROFS: (&str, i32) = ("EROFS", libc::EROFS);
    const AGAIN: (&str, i32) = ("EAGAIN", libc::EAGAIN);
    match name {
        "openat" => &[MFILE, NFILE, NOMEM, IO, NOSPC, DQUOT, ROFS],
        "write" | "pwrite64" | "ftruncate" | "fsync" | "fdatasync" | "fallocate" | "fsetxattr" => {
            &[NOSPC, DQUOT, IO]
        }
        "rename" | "link" | "linkat" | "mkdir" => &[NOSPC, DQUOT, IO, ROFS, NOMEM],
        "unlink" | "unlinkat" | "rmdir" | "fchmod" => &[IO, ROFS, NOMEM],
        "read" | "pread64" | "getdents64" | "flistxattr" | "fgetxattr" => &[IO],
        "statx" | "fstat" | "newfstatat" => &[IO, NOMEM],
        "clone" | "clone3" | "vfork" | "fork" => &[AGAIN, NOMEM],
        "pipe2" | "socketpair" | "accept4" | "pidfd_open" => &[MFILE, NFILE, NOMEM],
        "execve" => &[NOMEM, MFILE, IO],
        "epoll_ctl" => &[NOSPC, NOMEM],
        "dup" => &[MFILE],
        _ => &[],
    }
}
