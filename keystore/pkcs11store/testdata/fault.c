// A PKCS #11 module in front of another, $FAULT_MODULE, which it makes fail as
// the files in $FAULT_DIR say. Tests compile it.

#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "pkcs11go.h"

static CK_FUNCTION_LIST_PTR real;
static CK_FUNCTION_LIST faulty;

// setting reads a number from a file; it is 0 where there is none.
static long setting(const char *name)
{
	char path[4096];
	long value = 0;
	snprintf(path, sizeof path, "%s/%s", getenv("FAULT_DIR"), name);
	FILE *f = fopen(path, "r");
	if (f == NULL)
		return 0;
	if (fscanf(f, "%ld", &value) != 1)
		value = 1;
	fclose(f);
	return value;
}

// note appends a mark to a file, whose length a test reads as a count.
static void note(const char *name)
{
	char path[4096];
	snprintf(path, sizeof path, "%s/%s", getenv("FAULT_DIR"), name);
	FILE *f = fopen(path, "a");
	if (f != NULL) {
		fputc('.', f);
		fclose(f);
	}
}

// step kills the process at the step that "kill" says, counting from 1. Before
// and after each call that writes is a step.
static void step(void)
{
	static long steps;
	if (++steps == setting("kill"))
		kill(getpid(), SIGKILL);
}

static long sessions; // that are open

static CK_RV open_session(CK_SLOT_ID slot, CK_FLAGS flags, CK_VOID_PTR app, CK_NOTIFY notify, CK_SESSION_HANDLE_PTR session)
{
	long limit = setting("sessions");
	if (limit && __atomic_load_n(&sessions, __ATOMIC_SEQ_CST) >= limit) {
		note("full");
		return CKR_SESSION_COUNT;
	}
	CK_RV rv = real->C_OpenSession(slot, flags, app, notify, session);
	__atomic_fetch_add(&sessions, rv == CKR_OK, __ATOMIC_SEQ_CST);
	return rv;
}

static CK_RV close_session(CK_SESSION_HANDLE s)
{
	CK_RV rv = real->C_CloseSession(s);
	__atomic_fetch_sub(&sessions, rv == CKR_OK, __ATOMIC_SEQ_CST);
	return rv;
}

static CK_RV close_all(CK_SLOT_ID slot)
{
	__atomic_store_n(&sessions, 0, __ATOMIC_SEQ_CST);
	return real->C_CloseAllSessions(slot);
}

static CK_RV finalize(CK_VOID_PTR reserved)
{
	__atomic_store_n(&sessions, 0, __ATOMIC_SEQ_CST);
	return real->C_Finalize(reserved);
}

static CK_RV login(CK_SESSION_HANDLE s, CK_USER_TYPE user, CK_UTF8CHAR_PTR pin, CK_ULONG n)
{
	note("logins");
	long answer = setting("login");
	return answer ? (CK_RV)answer : real->C_Login(s, user, pin, n);
}

static CK_RV token_info(CK_SLOT_ID slot, CK_TOKEN_INFO_PTR info)
{
	CK_RV rv = real->C_GetTokenInfo(slot, info);
	info->flags |= setting("flags");
	return rv;
}

static CK_RV sign(CK_SESSION_HANDLE s, CK_BYTE_PTR data, CK_ULONG n, CK_BYTE_PTR signature, CK_ULONG_PTR len)
{
	usleep(setting("slow"));
	long answer = setting("sign");
	if (answer > 1)
		return (CK_RV)answer;
	CK_RV rv = real->C_Sign(s, data, n, signature, len);
	if (answer && rv == CKR_OK && signature != NULL)
		signature[7] ^= 1;
	return rv;
}

static CK_RV generate(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_ATTRIBUTE_PTR pub, CK_ULONG npub, CK_ATTRIBUTE_PTR priv, CK_ULONG npriv, CK_OBJECT_HANDLE_PTR hpub, CK_OBJECT_HANDLE_PTR hpriv)
{
	if (setting("mechanism"))
		return CKR_MECHANISM_INVALID;
	for (CK_ULONG i = 0; i < npub && setting("curve"); i++) // knows no object identifiers
		if (pub[i].type == CKA_EC_PARAMS && ((CK_BYTE_PTR)pub[i].pValue)[0] == 0x06)
			return CKR_ATTRIBUTE_VALUE_INVALID;
	step();
	CK_RV rv = real->C_GenerateKeyPair(s, m, pub, npub, priv, npriv, hpub, hpriv);
	if (rv == CKR_OK && setting("half")) {
		real->C_DestroyObject(s, *hpriv);
		kill(getpid(), SIGKILL);
	}
	step();
	return rv;
}

static CK_RV set_attributes(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o, CK_ATTRIBUTE_PTR a, CK_ULONG n)
{
	if (setting("fixed"))
		return CKR_ATTRIBUTE_READ_ONLY;
	step();
	CK_RV rv = real->C_SetAttributeValue(s, o, a, n);
	step();
	return rv;
}

static CK_RV destroy(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o)
{
	step();
	if (setting("vanish"))
		real->C_DestroyObject(s, o);
	CK_RV rv = real->C_DestroyObject(s, o);
	step();
	return rv;
}

static void destroy_all(CK_SESSION_HANDLE s)
{
	CK_OBJECT_HANDLE found[100];
	CK_ULONG n = 0;
	if (real->C_FindObjectsInit(s, NULL, 0) != CKR_OK)
		return;
	real->C_FindObjects(s, found, 100, &n);
	real->C_FindObjectsFinal(s);
	for (CK_ULONG i = 0; i < n; i++)
		real->C_DestroyObject(s, found[i]);
}

// attributes destroys all keys while one is being loaded, for "vanish". For "point" it
// rewrites that of Ed25519 keys, 04 20 and 32 bytes: for 1 to those bytes alone,
// for 2 to a BIT STRING, for 3 to nonsense.
static CK_RV attributes(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o, CK_ATTRIBUTE_PTR a, CK_ULONG n)
{
	CK_RV rv = real->C_GetAttributeValue(s, o, a, n);
	if (setting("vanish") && a[0].type == CKA_SENSITIVE && a[0].pValue != NULL)
		destroy_all(s);
	long point = setting("point");
	for (CK_ULONG i = 0; rv == CKR_OK && point && i < n; i++) {
		CK_BYTE_PTR value = a[i].pValue;
		if (a[i].type != CKA_EC_POINT)
			continue;
		if (value == NULL) {
			a[i].ulValueLen = 35;
		} else if (point == 1) {
			memmove(value, value + 2, 32);
			a[i].ulValueLen = 32;
		} else if (point == 2) {
			memmove(value + 3, value + 2, 32);
			memcpy(value, "\x03\x21\x00", 3);
			a[i].ulValueLen = 35;
		} else {
			a[i].ulValueLen = 31;
		}
	}
	return rv;
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR list)
{
	if (real == NULL) {
		void *module = dlopen(getenv("FAULT_MODULE"), RTLD_LAZY);
		CK_C_GetFunctionList get = module ? (CK_C_GetFunctionList)dlsym(module, "C_GetFunctionList") : NULL;
		if (get == NULL || get(&real) != CKR_OK)
			return CKR_GENERAL_ERROR;
		faulty = *real;
		faulty.C_OpenSession = open_session;
		faulty.C_CloseSession = close_session;
		faulty.C_CloseAllSessions = close_all;
		faulty.C_Finalize = finalize;
		faulty.C_Login = login;
		faulty.C_GetTokenInfo = token_info;
		faulty.C_Sign = sign;
		faulty.C_GenerateKeyPair = generate;
		faulty.C_SetAttributeValue = set_attributes;
		faulty.C_DestroyObject = destroy;
		faulty.C_GetAttributeValue = attributes;
	}
	*list = &faulty;
	return CKR_OK;
}
