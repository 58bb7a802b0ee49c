"""What Windows has of the world: language packs, keyboard layouts, and the time zones of the places in IANA's names.

Facts from Microsoft's lists of language packs and of default input profiles, and from Unicode's CLDR
(supplemental/windowsZones.xml), as of 2026.
"""

from __future__ import annotations

from collections.abc import Mapping

_LANGUAGE_PACKS = """
    ar-SA bg-BG cs-CZ da-DK de-DE el-GR en-GB en-US es-ES es-MX et-EE fi-FI fr-CA fr-FR he-IL hr-HR hu-HU it-IT
    ja-JP ko-KR lt-LT lv-LV nb-NO nl-NL pl-PL pt-BR pt-PT ro-RO ru-RU sk-SK sl-SI sr-Latn-CS sr-Latn-RS sv-SE
    th-TH tr-TR uk-UA zh-CN zh-HK zh-TW af-ZA am-ET as-IN az-Latn-AZ be-BY bn-BD bn-IN bs-Cyrl-BA bs-Latn-BA
    ca-ES ca-ES-valencia chr-CHER-US cy-GB eu-ES fa-IR fil-PH ga-IE gd-GB gl-ES gu-IN ha-Latn-NG hi-IN hy-AM
    id-ID ig-NG is-IS iu-Latn-CA ka-GE kk-KZ km-KH kn-IN kok-IN ku-Arab-IQ ky-KG lb-LU lo-LA mi-NZ mk-MK ml-IN
    mn-MN mr-IN ms-BN ms-MY mt-MT ne-NP nn-NO nso-ZA or-IN pa-Arab-PK pa-IN prs-AF quc-Latn-GT quz-PE rw-RW
    sd-Arab-PK si-LK sq-AL sr-Cyrl-BA sr-Cyrl-RS sw-KE ta-IN te-IN tg-Cyrl-TJ ti-ET tk-TM tn-ZA tt-RU ug-CN
    ur-PK uz-Latn-UZ vi-VN wo-SN xh-ZA yo-NG zu-ZA
"""
LANGUAGE_PACKS = frozenset(_LANGUAGE_PACKS.split())
"""The languages that Windows can speak; of many regions it has formats alone."""

_LANGUAGES = """
    aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee
    el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is
    it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms
    mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk
    sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi
    yo za zh zu
"""
LANGUAGES = frozenset(_LANGUAGES.split())
"""Languages by ISO 639-1; those of three letters are not listed."""

_REGIONS = """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY
    BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK
    FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR
    IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK
    ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM
    PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF
    TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW AN CS XK
"""
REGIONS = frozenset(_REGIONS.split())
"""Regions by ISO 3166, with those that Windows has besides or has kept."""

_KEYBOARDS = """
    00000401 00010401 00020401 00000402 00010402 00020402 00030402 00040402 00000404 00000405 00010405 00020405
    00000406 00000407 00010407 00020407 00030407 00000408 00010408 00020408 00030408 00040408 00050408 00060408
    00000409 00010409 00020409 00030409 00040409 00050409 00060409 0000040a 0001040a 0000040b 0000040c 0001040c
    0002040c 0000040d 0002040d 0003040d 0000040e 0001040e 0000040f 00000410 00010410 00000411 00000412 00000413
    00000414 00000415 00010415 00000416 00010416 00000418 00010418 00020418 00000419 00010419 00020419 0000041a
    0000041b 0001041b 0000041c 0000041d 0000041e 0001041e 0002041e 0003041e 0000041f 0001041f 00000420 00000422
    00020422 00000423 00000424 00000425 00000426 00010426 00020426 00000427 00010427 00020427 00000428 00000429
    00050429 0000042a 0000042b 0001042b 0002042b 0003042b 0000042c 0001042c 0000042e 0001042e 0002042e 0000042f
    0001042f 00000432 00000437 00010437 00020437 00030437 00040437 00000438 00000439 00010439 0000043a 0001043a
    0000043b 0001043b 0000043f 00000440 00000442 00000444 00010444 00000445 00010445 00020445 00000446 00000447
    00000448 00000449 00020449 00030449 0000044a 0000044b 0000044c 0000044d 0000044e 00000450 00000451 00010451
    00000452 00000453 00010453 00000454 0000045a 0001045a 0000045b 0001045b 0000045c 0001045c 0001045d 00000461
    00000463 00000465 00010465 00000468 0000046a 0000046c 0000046d 0000046e 0000046f 00000470 00000474 00000475
    00000480 00010480 00000481 00000485 00000488 00000492 00000804 00000807 00000809 0000080a 0000080c 0001080c
    00000813 00000816 0000081a 0000082c 0000083b 0001083b 0002083b 00000843 00000850 00010850 0000085d 0000085f
    00010c00 00020c00 00030c00 00040c00 00070c00 00080c00 00090c00 000a0c00 000b0c00 000c0c00 000d0c00 000e0c00
    000f0c00 00100c00 00110c00 00120c00 00130c00 00140c00 00150c00 00000c04 00000c0c 00000c1a 00000c51 00001004
    00001009 00011009 0000100c 0000105f 0001105f 00001404 00001409 00001809 00011809 0000201a 00004009
"""
KEYBOARDS = frozenset(_KEYBOARDS.split())
"""Layouts by their keys in the registry, in small letters; input methods begin with e0 and are not listed."""

_PLACES: Mapping[str, str] = {
    "AUS Central Standard Time": "Australia/Darwin Australia/North",
    "AUS Eastern Standard Time": (
        "Australia/ACT Australia/Canberra Australia/Melbourne Australia/NSW Australia/Sydney Australia/Victoria"
    ),
    "Afghanistan Standard Time": "Asia/Kabul",
    "Alaskan Standard Time": (
        "America/Anchorage America/Juneau America/Metlakatla America/Nome America/Sitka America/Yakutat US/Alaska"
    ),
    "Aleutian Standard Time": "America/Adak America/Atka US/Aleutian",
    "Altai Standard Time": "Asia/Barnaul",
    "Arab Standard Time": "Asia/Aden Asia/Bahrain Asia/Kuwait Asia/Qatar Asia/Riyadh",
    "Arabian Standard Time": "Asia/Dubai Asia/Muscat",
    "Arabic Standard Time": "Asia/Baghdad",
    "Argentina Standard Time": (
        "America/Argentina/Buenos_Aires America/Argentina/Catamarca America/Argentina/ComodRivadavia "
        "America/Argentina/Cordoba America/Argentina/Jujuy America/Argentina/La_Rioja "
        "America/Argentina/Mendoza America/Argentina/Rio_Gallegos America/Argentina/Salta "
        "America/Argentina/San_Juan America/Argentina/San_Luis America/Argentina/Tucuman "
        "America/Argentina/Ushuaia America/Buenos_Aires America/Catamarca America/Cordoba America/Jujuy "
        "America/Mendoza America/Rosario"
    ),
    "Astrakhan Standard Time": "Europe/Astrakhan Europe/Ulyanovsk",
    "Atlantic Standard Time": (
        "America/Glace_Bay America/Goose_Bay America/Halifax America/Moncton America/Thule Atlantic/Bermuda "
        "Canada/Atlantic"
    ),
    "Aus Central W. Standard Time": "Australia/Eucla",
    "Azerbaijan Standard Time": "Asia/Baku",
    "Azores Standard Time": "America/Scoresbysund Atlantic/Azores",
    "Bahia Standard Time": "America/Bahia",
    "Bangladesh Standard Time": "Asia/Dacca Asia/Dhaka Asia/Thimbu Asia/Thimphu",
    "Belarus Standard Time": "Europe/Minsk",
    "Bougainville Standard Time": "Pacific/Bougainville",
    "Canada Central Standard Time": "America/Regina America/Swift_Current Canada/Saskatchewan",
    "Cape Verde Standard Time": "Atlantic/Cape_Verde",
    "Caucasus Standard Time": "Asia/Yerevan",
    "Cen. Australia Standard Time": "Australia/Adelaide Australia/Broken_Hill Australia/South Australia/Yancowinna",
    "Central America Standard Time": (
        "America/Belize America/Costa_Rica America/El_Salvador America/Guatemala America/Managua "
        "America/Tegucigalpa Pacific/Galapagos"
    ),
    "Central Asia Standard Time": "Antarctica/Vostok Asia/Bishkek Asia/Kashgar Asia/Urumqi Indian/Chagos",
    "Central Brazilian Standard Time": "America/Campo_Grande America/Cuiaba",
    "Central Europe Standard Time": (
        "Europe/Belgrade Europe/Bratislava Europe/Budapest Europe/Ljubljana Europe/Podgorica Europe/Prague "
        "Europe/Tirane"
    ),
    "Central European Standard Time": "Europe/Sarajevo Europe/Skopje Europe/Warsaw Europe/Zagreb Poland",
    "Central Pacific Standard Time": (
        "Antarctica/Casey Pacific/Efate Pacific/Guadalcanal Pacific/Kosrae Pacific/Noumea Pacific/Pohnpei "
        "Pacific/Ponape"
    ),
    "Central Standard Time": (
        "America/Chicago America/Indiana/Knox America/Indiana/Tell_City America/Knox_IN America/Matamoros "
        "America/Menominee America/North_Dakota/Beulah America/North_Dakota/Center "
        "America/North_Dakota/New_Salem America/Ojinaga America/Rainy_River America/Rankin_Inlet "
        "America/Resolute America/Winnipeg Canada/Central US/Central US/Indiana-Starke"
    ),
    "Central Standard Time (Mexico)": (
        "America/Bahia_Banderas America/Chihuahua America/Merida America/Mexico_City America/Monterrey Mexico/General"
    ),
    "Chatham Islands Standard Time": "NZ-CHAT Pacific/Chatham",
    "China Standard Time": (
        "Asia/Chongqing Asia/Chungking Asia/Harbin Asia/Hong_Kong Asia/Macao Asia/Macau Asia/Shanghai Hongkong PRC"
    ),
    "Cuba Standard Time": "America/Havana Cuba",
    "E. Africa Standard Time": (
        "Africa/Addis_Ababa Africa/Asmara Africa/Asmera Africa/Dar_es_Salaam Africa/Djibouti Africa/Kampala "
        "Africa/Mogadishu Africa/Nairobi Antarctica/Syowa Indian/Antananarivo Indian/Comoro Indian/Mayotte"
    ),
    "E. Australia Standard Time": "Australia/Brisbane Australia/Lindeman Australia/Queensland",
    "E. Europe Standard Time": "Europe/Chisinau Europe/Tiraspol",
    "E. South America Standard Time": "America/Sao_Paulo Brazil/East",
    "Easter Island Standard Time": "Chile/EasterIsland Pacific/Easter",
    "Eastern Standard Time": (
        "America/Detroit America/Indiana/Petersburg America/Indiana/Vincennes America/Indiana/Winamac "
        "America/Iqaluit America/Kentucky/Louisville America/Kentucky/Monticello America/Louisville "
        "America/Montreal America/Nassau America/New_York America/Nipigon America/Pangnirtung "
        "America/Thunder_Bay America/Toronto Canada/Eastern US/Eastern US/Michigan"
    ),
    "Eastern Standard Time (Mexico)": "America/Cancun",
    "Egypt Standard Time": "Africa/Cairo Egypt",
    "Ekaterinburg Standard Time": "Asia/Yekaterinburg",
    "FLE Standard Time": (
        "Europe/Helsinki Europe/Kiev Europe/Kyiv Europe/Mariehamn Europe/Riga Europe/Sofia Europe/Tallinn "
        "Europe/Vilnius"
    ),
    "Fiji Standard Time": "Pacific/Fiji",
    "GMT Standard Time": (
        "Atlantic/Canary Atlantic/Faeroe Atlantic/Faroe Atlantic/Madeira Eire Europe/Belfast Europe/Dublin "
        "Europe/Guernsey Europe/Isle_of_Man Europe/Jersey Europe/Lisbon Europe/London GB GB-Eire Portugal WET"
    ),
    "GTB Standard Time": "Asia/Famagusta Asia/Nicosia EET Europe/Athens Europe/Bucharest Europe/Nicosia",
    "Georgian Standard Time": "Asia/Tbilisi",
    "Greenland Standard Time": "America/Godthab America/Nuuk",
    "Greenwich Standard Time": (
        "Africa/Abidjan Africa/Accra Africa/Bamako Africa/Banjul Africa/Bissau Africa/Conakry Africa/Dakar "
        "Africa/Freetown Africa/Lome Africa/Monrovia Africa/Nouakchott Africa/Ouagadougou Africa/Timbuktu "
        "America/Danmarkshavn Atlantic/Reykjavik Atlantic/St_Helena Iceland"
    ),
    "Haiti Standard Time": "America/Port-au-Prince",
    "Hawaiian Standard Time": "HST Pacific/Honolulu Pacific/Johnston Pacific/Rarotonga Pacific/Tahiti US/Hawaii",
    "India Standard Time": "Asia/Calcutta Asia/Kolkata",
    "Iran Standard Time": "Asia/Tehran Iran",
    "Israel Standard Time": "Asia/Jerusalem Asia/Tel_Aviv Israel",
    "Jordan Standard Time": "Asia/Amman",
    "Kaliningrad Standard Time": "Europe/Kaliningrad",
    "Korea Standard Time": "Asia/Seoul ROK",
    "Libya Standard Time": "Africa/Tripoli Libya",
    "Line Islands Standard Time": "Pacific/Kiritimati",
    "Lord Howe Standard Time": "Australia/LHI Australia/Lord_Howe",
    "Magadan Standard Time": "Asia/Magadan",
    "Magallanes Standard Time": "America/Coyhaique America/Punta_Arenas",
    "Marquesas Standard Time": "Pacific/Marquesas",
    "Mauritius Standard Time": "Indian/Mahe Indian/Mauritius Indian/Reunion",
    "Middle East Standard Time": "Asia/Beirut",
    "Montevideo Standard Time": "America/Montevideo",
    "Morocco Standard Time": "Africa/Casablanca Africa/El_Aaiun",
    "Mountain Standard Time": (
        "America/Boise America/Cambridge_Bay America/Ciudad_Juarez America/Denver America/Edmonton "
        "America/Inuvik America/Shiprock America/Yellowknife Canada/Mountain Navajo US/Mountain"
    ),
    "Mountain Standard Time (Mexico)": "America/Mazatlan Mexico/BajaSur",
    "Myanmar Standard Time": "Asia/Rangoon Asia/Yangon Indian/Cocos",
    "N. Central Asia Standard Time": "Asia/Novosibirsk",
    "Namibia Standard Time": "Africa/Windhoek",
    "Nepal Standard Time": "Asia/Kathmandu Asia/Katmandu",
    "New Zealand Standard Time": "Antarctica/McMurdo Antarctica/South_Pole NZ Pacific/Auckland",
    "Newfoundland Standard Time": "America/St_Johns Canada/Newfoundland",
    "Norfolk Standard Time": "Pacific/Norfolk",
    "North Asia East Standard Time": "Asia/Irkutsk",
    "North Asia Standard Time": "Asia/Krasnoyarsk Asia/Novokuznetsk",
    "North Korea Standard Time": "Asia/Pyongyang",
    "Omsk Standard Time": "Asia/Omsk",
    "Pacific SA Standard Time": "America/Santiago Chile/Continental",
    "Pacific Standard Time": "America/Los_Angeles America/Vancouver Canada/Pacific US/Pacific",
    "Pacific Standard Time (Mexico)": "America/Ensenada America/Santa_Isabel America/Tijuana Mexico/BajaNorte",
    "Pakistan Standard Time": "Asia/Karachi",
    "Paraguay Standard Time": "America/Asuncion",
    "Qyzylorda Standard Time": "Asia/Qyzylorda",
    "Romance Standard Time": "Africa/Ceuta CET Europe/Brussels Europe/Copenhagen Europe/Madrid Europe/Paris MET",
    "Russia Time Zone 10": "Asia/Srednekolymsk",
    "Russia Time Zone 11": "Asia/Anadyr Asia/Kamchatka",
    "Russia Time Zone 3": "Europe/Samara",
    "Russian Standard Time": "Europe/Kirov Europe/Moscow Europe/Simferopol W-SU",
    "SA Eastern Standard Time": (
        "America/Belem America/Cayenne America/Fortaleza America/Maceio America/Paramaribo America/Recife "
        "America/Santarem Antarctica/Palmer Antarctica/Rothera Atlantic/Stanley"
    ),
    "SA Pacific Standard Time": (
        "America/Atikokan America/Bogota America/Cayman America/Coral_Harbour America/Eirunepe "
        "America/Guayaquil America/Jamaica America/Lima America/Panama America/Porto_Acre America/Rio_Branco "
        "Brazil/Acre EST Jamaica"
    ),
    "SA Western Standard Time": (
        "America/Anguilla America/Antigua America/Aruba America/Barbados America/Blanc-Sablon "
        "America/Boa_Vista America/Curacao America/Dominica America/Grenada America/Guadeloupe America/Guyana "
        "America/Kralendijk America/La_Paz America/Lower_Princes America/Manaus America/Marigot "
        "America/Martinique America/Montserrat America/Port_of_Spain America/Porto_Velho America/Puerto_Rico "
        "America/Santo_Domingo America/St_Barthelemy America/St_Kitts America/St_Lucia America/St_Thomas "
        "America/St_Vincent America/Tortola America/Virgin Brazil/West"
    ),
    "SE Asia Standard Time": (
        "Antarctica/Davis Asia/Bangkok Asia/Ho_Chi_Minh Asia/Jakarta Asia/Phnom_Penh Asia/Pontianak "
        "Asia/Saigon Asia/Vientiane Indian/Christmas"
    ),
    "Saint Pierre Standard Time": "America/Miquelon",
    "Sakhalin Standard Time": "Asia/Sakhalin",
    "Samoa Standard Time": "Pacific/Apia",
    "Sao Tome Standard Time": "Africa/Sao_Tome",
    "Saratov Standard Time": "Europe/Saratov",
    "Singapore Standard Time": (
        "Asia/Brunei Asia/Kuala_Lumpur Asia/Kuching Asia/Makassar Asia/Manila Asia/Singapore "
        "Asia/Ujung_Pandang Singapore"
    ),
    "South Africa Standard Time": (
        "Africa/Blantyre Africa/Bujumbura Africa/Gaborone Africa/Harare Africa/Johannesburg Africa/Kigali "
        "Africa/Lubumbashi Africa/Lusaka Africa/Maputo Africa/Maseru Africa/Mbabane"
    ),
    "South Sudan Standard Time": "Africa/Juba",
    "Sri Lanka Standard Time": "Asia/Colombo",
    "Sudan Standard Time": "Africa/Khartoum",
    "Syria Standard Time": "Asia/Damascus",
    "Taipei Standard Time": "Asia/Taipei ROC",
    "Tasmania Standard Time": "Antarctica/Macquarie Australia/Currie Australia/Hobart Australia/Tasmania",
    "Tocantins Standard Time": "America/Araguaina",
    "Tokyo Standard Time": "Asia/Dili Asia/Jayapura Asia/Tokyo Japan Pacific/Palau",
    "Tomsk Standard Time": "Asia/Tomsk",
    "Tonga Standard Time": "Pacific/Tongatapu",
    "Transbaikal Standard Time": "Asia/Chita",
    "Turkey Standard Time": "Asia/Istanbul Europe/Istanbul Turkey",
    "Turks And Caicos Standard Time": "America/Grand_Turk",
    "US Eastern Standard Time": (
        "America/Fort_Wayne America/Indiana/Indianapolis America/Indiana/Marengo America/Indiana/Vevay "
        "America/Indianapolis"
    ),
    "US Mountain Standard Time": (
        "America/Creston America/Dawson_Creek America/Fort_Nelson America/Hermosillo America/Phoenix MST US/Arizona"
    ),
    "UTC": "GMT+0 GMT-0 GMT0 Greenwich UCT UTC Universal Zulu",
    "UTC+12": (
        "Kwajalein Pacific/Funafuti Pacific/Kwajalein Pacific/Majuro Pacific/Nauru Pacific/Tarawa "
        "Pacific/Wake Pacific/Wallis"
    ),
    "UTC+13": "Pacific/Enderbury Pacific/Fakaofo Pacific/Kanton",
    "UTC-02": "America/Noronha Atlantic/South_Georgia Brazil/DeNoronha",
    "UTC-08": "Pacific/Pitcairn",
    "UTC-09": "Pacific/Gambier",
    "UTC-11": "Pacific/Midway Pacific/Niue Pacific/Pago_Pago Pacific/Samoa US/Samoa",
    "Ulaanbaatar Standard Time": "Asia/Choibalsan Asia/Ulaanbaatar Asia/Ulan_Bator",
    "Venezuela Standard Time": "America/Caracas",
    "Vladivostok Standard Time": "Asia/Ust-Nera Asia/Vladivostok",
    "Volgograd Standard Time": "Europe/Volgograd",
    "W. Australia Standard Time": "Australia/Perth Australia/West",
    "W. Central Africa Standard Time": (
        "Africa/Algiers Africa/Bangui Africa/Brazzaville Africa/Douala Africa/Kinshasa Africa/Lagos "
        "Africa/Libreville Africa/Luanda Africa/Malabo Africa/Ndjamena Africa/Niamey Africa/Porto-Novo "
        "Africa/Tunis"
    ),
    "W. Europe Standard Time": (
        "Arctic/Longyearbyen Atlantic/Jan_Mayen Europe/Amsterdam Europe/Andorra Europe/Berlin Europe/Busingen "
        "Europe/Gibraltar Europe/Luxembourg Europe/Malta Europe/Monaco Europe/Oslo Europe/Rome "
        "Europe/San_Marino Europe/Stockholm Europe/Vaduz Europe/Vatican Europe/Vienna Europe/Zurich"
    ),
    "W. Mongolia Standard Time": "Asia/Hovd",
    "West Asia Standard Time": (
        "Antarctica/Mawson Asia/Almaty Asia/Aqtau Asia/Aqtobe Asia/Ashgabat Asia/Ashkhabad Asia/Atyrau "
        "Asia/Dushanbe Asia/Oral Asia/Qostanay Asia/Samarkand Asia/Tashkent Indian/Kerguelen Indian/Maldives"
    ),
    "West Bank Standard Time": "Asia/Gaza Asia/Hebron",
    "West Pacific Standard Time": (
        "Antarctica/DumontDUrville Pacific/Chuuk Pacific/Guam Pacific/Port_Moresby Pacific/Saipan "
        "Pacific/Truk Pacific/Yap"
    ),
    "Yakutsk Standard Time": "Asia/Khandyga Asia/Yakutsk",
    "Yukon Standard Time": "America/Dawson America/Whitehorse Canada/Yukon",
}

ZONE_OF: Mapping[str, str] = {place.casefold(): zone for zone, places in _PLACES.items() for place in places.split()}
"""Windows' name of the time zone of a place, by IANA's name in small letters."""
