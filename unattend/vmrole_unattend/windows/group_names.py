"""Windows' own local groups: the English names, which an answer file of any language may use, and other languages'.

From Microsoft's reference of LocalAccount/Group, and from the lists of groups in Windows itself.
"""

from __future__ import annotations

import difflib
import re

_KNOWN = """
AccountOperators Administrators BackupOperators CryptoOperators DCOMUsers Guests IUsers IIS_IUSRS
NetworkConfigurationOperators PerfLoggingUsers PerfMonitoringUsers PowerUsers PrintOperators RemoteDesktopUsers
Replicator SystemOperators Users CryptographicOperators DistributedCOMUsers PerformanceLogUsers
PerformanceMonitorUsers EventLogReaders Hyper-VAdministrators RemoteManagementUsers
AccessControlAssistanceOperators CertificateServiceDCOMAccess DeviceOwners RDSEndpointServers
RDSManagementServers RDSRemoteAccessServers StorageReplicaAdministrators SystemManagedAccountsGroup
"""
_ELSEWHERE = {
    "Administrators": """
        Administratoren Administrateurs Administradores Amministratori Administratörer Administratorer
        Administratorzy Järjestelmänvalvojat Administrátorok Rendszergazdák Správci Beheerders Yöneticiler
        Администраторы 管理员 管理者
    """,
    "Users": """
        Benutzer Utilisateurs Usuarios Utenti Utilizadores Usuários Användare Brugere Brukere Gebruikers Käyttäjät
        Użytkownicy Uživatelé Felhasználók Пользователи 用户
    """,
    "Guests": "Gäste Invités Invitados Ospiti Convidados Gäster Gæster Gasten Goście Hosté Гости",
    "PowerUsers": "Hauptbenutzer UtilisateursAvecPouvoir UsuariosAvanzados",
    "RemoteDesktopUsers": """
        Remotedesktopbenutzer UtilisateursDuBureauÀDistance UsuariosDeEscritorioRemoto UtentiDesktopRemoto
        Fjärrskrivbordsanvändare
    """,
}


def is_known(group: str) -> bool:
    """Whether it is the English name of a group of Windows' own, with or without its blanks."""
    return _squeezed(group) in _NAMES


def english(group: str) -> str:
    """The English name of a group that is named in another language; "" for one that is not known."""
    return _ENGLISH.get(_squeezed(group), "")


_BY_SID = {
    "544": "Administrators",
    "545": "Users",
    "546": "Guests",
    "547": "PowerUsers",
    "551": "BackupOperators",
    "555": "RemoteDesktopUsers",
    "578": "Hyper-V Administrators",
    "580": "Remote Management Users",
}


def meant(group: str) -> str:
    """The English name that somebody may have meant: another language's, a SID, a slip; "" for none."""
    sid = re.fullmatch(r"\*?S-1-5-32-(\d{3})", group, re.IGNORECASE)
    if sid is not None:
        return _BY_SID.get(sid[1], "")
    names = {one.casefold(): one for one in _KNOWN.split()}
    close = difflib.get_close_matches(_squeezed(group).rpartition("\\")[2], names, 1, 0.8)
    return english(group) or (names[close[0]] if close else "")


def _squeezed(group: str) -> str:
    return group.replace(" ", "").casefold()


_NAMES = frozenset(_KNOWN.casefold().split())
_ENGLISH = {_squeezed(word): name for name, words in _ELSEWHERE.items() for word in words.split()}
