"""Windows' own local groups: the English names, which an answer file of any language may use, and other languages'.

From Microsoft's reference of LocalAccount/Group, and from the lists of groups in Windows itself.
"""

from __future__ import annotations

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


def _squeezed(group: str) -> str:
    return group.replace(" ", "").casefold()


_NAMES = frozenset(_KNOWN.casefold().split())
_ENGLISH = {_squeezed(word): name for name, words in _ELSEWHERE.items() for word in words.split()}
